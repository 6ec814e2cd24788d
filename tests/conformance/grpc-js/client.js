// An SVID over @grpc/grpc-js, then a token that is refused, then a renewed SVID that nobody asked for.
"use strict";

const { X509Certificate, createPrivateKey } = require("node:crypto");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const described = grpc.loadPackageDefinition(loader.loadSync(`${__dirname}/workload.proto`, { keepCase: true }));
const client = new described.SpiffeWorkloadAPI(
  process.env.SPIFFE_ENDPOINT_SOCKET.replace("unix://", "unix:"), grpc.credentials.createInsecure());

function metadata(value) {
  const made = new grpc.Metadata();
  if (value) made.set("workload.spiffe.io", value);
  return made;
}

function checked(svid) {
  const leaf = new X509Certificate(svid.x509_svid);
  const root = new X509Certificate(svid.bundle);
  const key = createPrivateKey({ key: svid.x509_svid_key, format: "der", type: "pkcs8" });
  if (!leaf.verify(root.publicKey)) throw new Error("the bundle did not sign it");
  if (!leaf.checkPrivateKey(key)) throw new Error("the key is another's");
  if (leaf.subjectAltName !== `URI:${svid.spiffe_id}`) throw new Error(leaf.subjectAltName);
  return leaf.serialNumber;
}

function refused(call) {
  return new Promise((resolve) => call((error) => resolve(error ? error.code : -1)));
}

async function main() {
  const nameless = await new Promise((resolve) => {
    client.FetchX509SVID({}, metadata("")).on("error", (error) => resolve(error.code)).on("data", () => resolve(-1));
  });
  const token = await refused((done) =>
    client.FetchJWTSVID({ audience: ["vault"] }, metadata("true"), done));
  let first = "";
  const stream = client.FetchX509SVID({}, metadata("true"));
  stream.on("error", (error) => { console.log(`refused ${error.code}`); process.exit(1); });
  stream.on("data", (message) => {
    const svid = message.svids[0];
    const serial = checked(svid);
    if (!first) {
      first = serial;
      console.log(`ready ${svid.spiffe_id} ${nameless} ${token}`);
    } else if (serial !== first) {
      console.log("rotated");
      process.exit(0);
    }
  });
}

process.stdin.once("data", main);
