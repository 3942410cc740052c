# frozen_string_literal: true

# Takes orders over HTTP and keeps them in a PStore; invoices pass through a temporary file.

require "fileutils"
require "pstore"
require "tempfile"
require "webrick"

ORDERS = PStore.new(ENV.fetch("ORDERS", "var/orders.pstore"), true)
ORDERS.ultra_safe = true
PID_FILE = "tmp/pids/server.pid"

# Answers /orders/NAME: PUT keeps an order, GET gives its invoice.
class Orders < WEBrick::HTTPServlet::AbstractServlet
  def do_PUT(request, response)
    ORDERS.transaction { ORDERS[name(request)] = request.body }
    response.body = "kept\n"
  end

  def do_GET(request, response)
    order = ORDERS.transaction(true) { ORDERS[name(request)] }
    raise WEBrick::HTTPStatus::NotFound unless order

    Tempfile.create("invoice") do |file|
      file.write("order: #{order}\n")
      file.rewind
      response.body = file.read
    end
  end

  private

  def name(request)
    File.basename(request.path)
  end
end

File.write(PID_FILE, Process.pid.to_s)
server = WEBrick::HTTPServer.new(Port: 9292, AccessLog: [])
server.mount("/orders", Orders)
server.mount_proc("/") { |_, response| response.body = "It works, and it is ours.\n" }
trap("INT") { server.shutdown }
trap("TERM") { server.shutdown }
server.start
FileUtils.rm_f(PID_FILE)
