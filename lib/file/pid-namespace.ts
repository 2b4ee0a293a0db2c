import { readFileSync, statSync } from "node:fs";
import { nextTurn } from "../support/event-loop-slice.js";
import type { Table } from "./environment.js";

/*
 * LMDB takes the byte of the lock file whose offset is the process id to say that the process is alive. Two processes
 * of different pid namespaces, such as two containers, can have the same id: then the second one cannot read, and dead
 * readers look alive.
 */

/** Processes come and go while the table of locks is read, so that a place may look foreign once, but not each time. */
const ROUNDS = 5;

/**
 * Runs the first read of an environment. lmdb-js waits for ten seconds on the main thread if it finds the byte of this
 * process taken, and then ends the process.
 *
 * @throws Error if a process of another namespace has the id of this one
 */
export function failWhereLmdbWaits<T>(read: () => T): T {
  const { wait } = Atomics;
  const setWait = (value: unknown) => Reflect.set(Atomics, "wait", value);
  // Nothing else runs in this thread until it is put back.
  setWait(() => {
    throw inAnotherNamespace();
  });
  try {
    return read();
  } finally {
    setWait(wait);
  }
}

/**
 * Fails if a process of another pid namespace has the file open. It is called after a read. If the process of the other
 * namespace opens the file at the same moment, then that process sees this one.
 */
export async function assertOneNamespace(root: Table, path: string): Promise<void> {
  if (process.platform !== "linux") return;
  root.useReadTransaction().done();
  root.resetReadTxn();
  let suspects = foreignReaders(root, path);
  for (let round = 1; round < ROUNDS && suspects.length > 0; round++) {
    await nextTurn();
    const again = foreignReaders(root, path);
    suspects = suspects.filter(pid => again.includes(pid));
  }
  if (suspects.length > 0) throw inAnotherNamespace();
}

/** The ids of live readers that are not those of processes of this namespace. */
function foreignReaders(root: Table, path: string): number[] {
  root.readerCheck();
  const others = readersOf(root).filter(pid => pid !== process.pid);
  if (others.length === 0) return others;
  const holders = lockHolders(path);
  return others.filter(pid => !(holders?.has(pid) ?? exists(pid)));
}

/** The process ids in LMDB's table of readers. */
function readersOf(root: Table): number[] {
  const lines = root.readerList().split("\n");
  const pids = lines.map(line => /^\s*(\d+)\s/.exec(line)?.[1]).filter(pid => pid !== undefined);
  return [...new Set(pids.map(Number))];
}

/**
 * The processes of this namespace that have taken the byte of their id, according to the kernel. `undefined` if the
 * kernel does not list the locks of this file, which shows in that of this process.
 */
function lockHolders(path: string): Set<number> | undefined {
  const locks = [...readLocks().matchAll(/POSIX +\w+ +WRITE (\d+) (\S+:(\d+)) (\d+) \4$/gm)]
    .map(([, pid, file, inode, byte]) => ({ pid: Number(pid), file, inode, byte: Number(byte) }))
    .filter(({ pid, byte }) => pid === byte);
  const own = locks.filter(({ pid }) => pid === process.pid);
  const inode = String(statSync(`${path}-lock`).ino);
  // Some file systems show another inode in the table of locks.
  const known = own.find(lock => lock.inode === inode) ?? (own.length === 1 ? own[0] : undefined);
  return known && new Set(locks.filter(({ file }) => file === known.file).map(({ pid }) => pid));
}

function readLocks(): string {
  try {
    return readFileSync("/proc/locks", "utf8");
  } catch {
    return "";
  }
}

function exists(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

function inAnotherNamespace(): Error {
  return new Error(
    "a process of another pid namespace, such as another container, has it open. Run all processes that share the " +
      "file in one pid namespace (in Docker: `pid: host`), or give each container a file of its own",
  );
}
