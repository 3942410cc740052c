"use strict";

// Keeps flows as JSON files in the user's home and installs plugins there, in the way of Node-RED.
const { execFile } = require("node:child_process");
const fs = require("node:fs");
const http = require("node:http");
const os = require("node:os");
const path = require("node:path");

const USER_DIRECTORY = path.join(os.homedir(), ".flows");
const FLOWS = path.join(USER_DIRECTORY, "flows");

/** Replaces a file whole, so that a crash leaves the old or the new one. */
function writeWhole(file, text) {
  const fresh = `${file}.${process.pid}.new`;
  fs.writeFileSync(fresh, text, { mode: 0o600 });
  fs.renameSync(fresh, file);
}

/** Collects a request's body in a temporary file and hands over the text. */
function receive(request, then) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "flows-"));
  const file = path.join(directory, "body");
  const stream = fs.createWriteStream(file);
  request.pipe(stream).on("finish", () => {
    const text = fs.readFileSync(file, "utf8");
    fs.rmSync(directory, { recursive: true });
    then(text);
  });
}

/** Installs a plugin that came with the app into the user directory. */
function install(name, then) {
  const archive = fs.readdirSync("plugins-available").find((file) => file.startsWith(`${name}-`));
  const source = path.resolve("plugins-available", archive || "none");
  const options = ["install", "--offline", "--no-audit", "--no-fund", "--save", "--prefix", USER_DIRECTORY, source];
  execFile("npm", options, { timeout: 30000 }, (error, stdout, stderr) => then(error && `${stdout}${stderr}`));
}

function handle(request, response) {
  const answer = (status, text) => response.writeHead(status, { "Content-Type": "text/plain" }).end(`${text}\n`);
  const [, kind, name] = request.url.split("/");
  const file = path.join(FLOWS, `${path.basename(name || "")}.json`);
  if (kind === "flows" && request.method === "PUT") {
    receive(request, (text) => {
      writeWhole(file, JSON.stringify({ name, text }));
      answer(200, "kept");
    });
  } else if (kind === "flows") {
    fs.existsSync(file) ? answer(200, JSON.parse(fs.readFileSync(file)).text) : answer(404, "no such flow");
  } else if (kind === "plugins" && request.method === "POST") {
    install(name, (trouble) => (trouble ? answer(500, trouble) : answer(200, "installed")));
  } else if (kind === "shout") {
    answer(200, require(path.join(USER_DIRECTORY, "node_modules", "shout"))(name));
  } else {
    answer(200, "It works, and it is ours.");
  }
}

fs.mkdirSync(FLOWS, { recursive: true });
const server = http.createServer((request, response) => {
  try {
    handle(request, response);
  } catch (error) {
    console.error(error.message);
    response.writeHead(500).end(`${error.message}\n`);
  }
});
process.on("SIGTERM", () => process.exit(0));
server.listen(3000, () => console.log(`flows are in ${FLOWS}`));
