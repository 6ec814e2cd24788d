// A script without any model, with the MCP SDK for TypeScript: read a document and mail it on.
//
// usage: node main.mjs MCP_URL DOCUMENT [ADDRESS]        (without ADDRESS: to whom the document says, if it does)

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [url, document, address] = process.argv.slice(2);
const text = (result) => result.content.filter((block) => block.type === "text").map((block) => block.text).join("\n");

const client = new Client({ name: "clerk", version: "1.0.0" });
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
const { tools } = await client.listTools();
console.log("tools:", ...tools.map((tool) => tool.name).sort());
const found = text(await client.callTool({ name: "docs__read", arguments: { name: document } }));
console.log(found);
const to = address ?? /Reply to: (.*)/.exec(found)?.[1];
if (to) {
  const args = { to, subject: document, body: found };
  console.log(text(await client.callTool({ name: "mail__send", arguments: args })));
}
await client.close();
