// Publish from Node (npm install amqplib): no kit, and nobody declared the runtime before.

import { randomUUID } from "node:crypto";
import amqplib from "amqplib";

const url = process.env.MEERKAT_AMQP_URL ?? "amqp://guest:guest@127.0.0.1:5672/";
const namespace = process.env.MEERKAT_NAMESPACE ?? "meerkat";

const id = randomUUID();
const prompt = {
  input_type: "prompt",
  header: { id, source: { type: "external", source_name: "node" } },
  text: "What is new?",
};

const connection = await amqplib.connect(url);
const channel = await connection.createConfirmChannel();
channel.on("return", () => {
  throw new Error("no queue took it: is a worker's topology declared?");
});
channel.publish(`${namespace}.inbox`, "assistant-4", Buffer.from(JSON.stringify(prompt)), {
  messageId: id,
  type: "input",
  contentType: "application/json",
  persistent: true,
  mandatory: true,
});
await channel.waitForConfirms(); // If this throws, publish again with the same id.
await connection.close();
console.log("published", id);
