import java.io.FileInputStream;
import java.net.Authenticator;
import java.net.InetSocketAddress;
import java.net.PasswordAuthentication;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * POSTs a file with java.net.http, which knows no proxy but the one that it is
 * given and shows a credential only when it is asked for one.
 * usage: Client.java URL CA PAYLOAD OUT
 */
public class Client {
  public static void main(String[] args) throws Exception {
    URI proxy = URI.create(System.getenv("HTTPS_PROXY"));
    String[] user = proxy.getUserInfo().split(":", 2);

    KeyStore roots = KeyStore.getInstance(KeyStore.getDefaultType());
    roots.load(null, null);
    try (FileInputStream in = new FileInputStream(args[1])) {
      roots.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
    }
    TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    trust.init(roots);
    SSLContext tls = SSLContext.getInstance("TLS");
    tls.init(null, trust.getTrustManagers(), null);

    HttpClient client = HttpClient.newBuilder()
        .version(HttpClient.Version.HTTP_1_1)
        .sslContext(tls)
        .proxy(ProxySelector.of(new InetSocketAddress(proxy.getHost(), proxy.getPort())))
        .authenticator(new Authenticator() {
          @Override
          protected PasswordAuthentication getPasswordAuthentication() {
            return new PasswordAuthentication(user[0], user[1].toCharArray());
          }
        })
        .build();
    HttpRequest request = HttpRequest.newBuilder(URI.create(args[0]))
        .POST(HttpRequest.BodyPublishers.ofFile(Path.of(args[2])))
        .build();
    HttpResponse<Path> response = client.send(request, HttpResponse.BodyHandlers.ofFile(Path.of(args[3])));
    if (response.statusCode() != 200) {
      System.err.println("status " + response.statusCode() + " " + response.headers().map());
      System.exit(1);
    }
  }
}
