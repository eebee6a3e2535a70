import java.io.*;
import java.net.*;
import java.net.http.*;
import java.util.*;
import java.util.concurrent.*;

/** java.net.http.HttpClient: URL, connections, proxy or "". */
public class Client {
  public static void main(String[] args) throws Exception {
    int n = Integer.parseInt(args[1]);
    HttpClient.Builder builder = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1);
    if (!args[2].isEmpty()) {
      URI proxy = URI.create(args[2]);
      builder.proxy(ProxySelector.of(new InetSocketAddress(proxy.getHost(), proxy.getPort())));
    }
    HttpClient client = builder.build();
    allAtOnce(client, args[0], n);
    new BufferedReader(new InputStreamReader(System.in)).readLine();
    allAtOnce(client, args[0], n);
    System.exit(0);
  }

  static void allAtOnce(HttpClient client, String url, int n) {
    HttpRequest request = HttpRequest.newBuilder(URI.create(url)).build();
    List<CompletableFuture<HttpResponse<String>>> all = new ArrayList<>();
    for (int i = 0; i < n; i++) all.add(client.sendAsync(request, HttpResponse.BodyHandlers.ofString()));
    int failed = 0;
    for (CompletableFuture<HttpResponse<String>> one : all) {
      try {
        one.join();
      } catch (CompletionException e) {
        failed++;
        System.err.println(e);
      }
    }
    System.out.println(failed);
  }
}
