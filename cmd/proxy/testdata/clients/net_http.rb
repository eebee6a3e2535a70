# POSTs a file with Net::HTTP, which finds the proxy in http_proxy, whatever
# the scheme of the target.
# usage: net_http.rb URL CA PAYLOAD OUT
require "net/http"

url, ca, payload, out = ARGV
uri = URI(url)
http = Net::HTTP.new(uri.host, uri.port)
http.use_ssl = true
http.ca_file = ca
response = http.post(uri.path, File.binread(payload))
File.binwrite(out, response.body)
