import { type Stats, statSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { LmdbStatus } from "../../file/lmdb-file.js";
import { type FileStore, fileOf } from "../../file/store.js";
import { formatSize } from "../units.js";
import { type Check, ok, problem, unknown, warning } from "./check.js";

const OTHERS = 0o077;
const MIN_FREE_BYTES = 64 * 1024 * 1024;
/** A snapshot of so many transactions ago keeps pages from being used again. */
const OLD_SNAPSHOT = 10_000;

/** The types of network file systems, as statfs(2) has them. */
const networks = new Map([
  [0x6969, "NFS"],
  [0x517b, "SMB"],
  [0xff534d42, "CIFS"],
  [0xfe534d42, "SMB2"],
  [0x01021997, "9P"],
  [0x00c36400, "Ceph"],
]);
const FUSE = 0x65735546;

export async function* checkFile(store: FileStore): AsyncGenerator<Check> {
  const path = resolve(store.path);
  yield* checkPermissions(path);
  const file = await fileOf(store);
  file.clearStaleReaders();
  yield* checkLmdb(file.status());
  yield* checkSpace(path);
}

function* checkPermissions(path: string): Generator<Check> {
  const [file, lock] = [statSync(path), statSync(`${path}-lock`)];
  const mode = (stats: Stats) => (stats.mode & 0o777).toString(8);
  const open = (file.mode | lock.mode) & OTHERS;
  yield open === 0
    ? ok("permissions", `${path} is for its owner alone (mode ${mode(file)})`)
    : warning(
        "permissions",
        `${path} has mode ${mode(file)} and its lock file ${mode(lock)}: other users of this machine have access to the sessions`,
        `chmod 600 ${path} ${path}-lock, unless the processes of the application run as different users.`,
      );
  const uid = process.getuid?.();
  if (file.uid !== lock.uid) {
    yield problem(
      "owner",
      `The file belongs to user ${file.uid}, its lock file to user ${lock.uid}`,
      "Give both files to the user of the application (chown).",
    );
  } else if (uid !== undefined && uid !== file.uid) {
    yield warning(
      "owner",
      `The file belongs to user ${file.uid}, this process runs as user ${uid}`,
      "Run this program as the user of the application: files that it creates would belong to this one.",
    );
  } else yield ok("owner", `user ${file.uid}, as this process`);
}

function* checkLmdb({
  pageSize,
  lastPageNumber,
  lastTxnId,
  mapSize,
  maxReaders,
  readerList,
}: LmdbStatus): Generator<Check> {
  const readers = [...readerList.matchAll(/^\s*(\d+)\s+\S+\s+(\d+|-)\s*$/gm)];
  const processes = new Set(readers.map(([, pid]) => pid)).size;
  const readersText = `${readers.length} of ${maxReaders} places, by ${processes} process(es), this one included`;
  yield readers.length < maxReaders * 0.8
    ? ok("readers", readersText)
    : problem(
        "readers",
        readersText,
        "Run fewer processes on this file: those beyond the last place cannot read.",
      );
  const snapshots = readers.flatMap(([, pid, id]) =>
    id === "-" ? [] : [{ pid, age: lastTxnId - Number(id) }],
  );
  const oldest = snapshots.reduce((one, other) => (other.age > one.age ? other : one), { pid: "", age: 0 });
  yield oldest.age < OLD_SNAPSHOT
    ? ok("snapshots", `the oldest is ${oldest.age} transactions old`)
    : warning(
        "snapshots",
        `Process ${oldest.pid} holds one that is ${oldest.age} transactions old, so that the file grows`,
        `Look at process ${oldest.pid}: it was stopped, or hangs.`,
      );
  const bytes = (lastPageNumber + 1) * pageSize;
  yield ok("size", `${formatSize(bytes)}; the map has ${formatSize(mapSize)} and grows by itself`);
}

async function* checkSpace(path: string): AsyncGenerator<Check> {
  const { bavail, bsize, type } = await statfs(dirname(path));
  const free = bavail * bsize;
  const { size } = statSync(path);
  const text = `${formatSize(free)} free, the file has ${formatSize(size)}`;
  if (free < MIN_FREE_BYTES)
    yield problem("space", text, "Free space on this file system: writes fail when it is full.");
  else if (free < size / 2)
    yield warning("space", text, "Free space on this file system before the file grows by half.");
  else yield ok("space", text);
  if (process.platform !== "linux") {
    yield unknown("file system", "its type is known on Linux only; it must be a local one");
    return;
  }
  const network = networks.get(type >>> 0) ?? networks.get(type);
  if (network !== undefined) {
    yield problem(
      "file system",
      network,
      "Move the file to a local file system: LMDB damages files on network file systems.",
    );
  } else if (type === FUSE) {
    yield warning(
      "file system",
      "FUSE",
      "Make sure that it is local and that mmap and file locks work on it.",
    );
  } else yield ok("file system", `local (type 0x${type.toString(16)})`);
}
