// Reads a document with AsyncAPI's own parser, and prints what it has against it: one JSON array.
const { readFileSync } = require("node:fs");
const { Parser } = require("@asyncapi/parser");

const [document] = process.argv.slice(2);
new Parser().parse(readFileSync(document, "utf8")).then(({ diagnostics }) => {
  console.log(JSON.stringify(diagnostics.map(({ severity, message, path }) => ({ severity, message, path }))));
});
