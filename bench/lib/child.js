import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

/** Starts a program of `children/`, with its arguments as JSON. The program responds with messages. */
export function startChild(name, args, execArgv = []) {
  const child = fork(join(import.meta.dirname, "..", "children", `${name}.js`), [JSON.stringify(args)], {
    execArgv,
    env: { ...process.env, NODE_ENV: "production" },
  });
  const exited = once(child, "exit");
  return {
    /** Returns the program's next message. Rejects if the program ends instead. */
    async message() {
      const [answer] = await Promise.race([
        once(child, "message"),
        exited.then(([code]) => {
          throw new Error(`children/${name}.js ended with code ${code}`);
        }),
      ]);
      return answer;
    },
    /** Sends a command, and returns the next message. */
    async ask(command) {
      child.send(command);
      return await this.message();
    },
    async stop() {
      if (child.connected) child.disconnect();
      await exited;
    },
  };
}

/** Runs a program to its end and returns its message. */
export async function runChild(name, args, execArgv) {
  const child = startChild(name, args, execArgv);
  const answer = await child.message();
  await child.stop();
  return answer;
}

/** Used by the program: responds to each command with the result of `handlers[name]`, and ends with its parent. */
export function answerCommands(handlers, close) {
  process.on("message", async ([name, ...args]) => {
    process.send(await handlers[name](...args));
  });
  process.once("disconnect", async () => {
    await close();
    process.exit();
  });
}

/** Used by the program: its arguments. */
export function childArguments() {
  return JSON.parse(process.argv[2]);
}
