import type { Command } from "commander";
import { examples, onStore, type Process } from "../command.js";
import { EXIT } from "../errors.js";

/** `ping`: whether the backend can be reached and used. */
export function addPing(program: Command, current: Process): void {
  const command = program.command("ping").description("check that the backend can be reached and used");
  onStore(command, current, async ({ store, terminal, signal }) => {
    const startedAt = performance.now();
    await store.ping({ signal });
    const ms = Math.round((performance.now() - startedAt) * 10) / 10;
    await terminal.result({ ok: true, ms }, () => `ok, ${ms} ms`);
    return EXIT.ok;
  });
  examples(command, [
    "ping --store file:./data/sessions.lmdb",
    "ping --store dynamodb://eu-west-1/sessions --json",
    "ping --store ./sessions.js",
  ]);
}
