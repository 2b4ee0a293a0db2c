import type { Etcd3 } from "etcd3";
import type { LazyEtcdClient } from "../../create-store/etcd-client.js";
import { clientOf, type EtcdStore } from "../../etcd/store.js";
import { describeError } from "../errors.js";
import { etcdPlaceOf } from "../kinds.js";
import { formatSize } from "../units.js";
import { type Check, checkClock, ok, problem, unknown, warning } from "./check.js";
import { getFrom, metricIn } from "./etcd-http.js";

/** What etcd uses without `--quota-backend-bytes`. */
const DEFAULT_QUOTA = 2 * 1024 ** 3;
const FULL_SHARE = 0.8;
const MANY_REVISIONS = 500_000;
const NEVER_COMPACTED = 10_000;
const TIMEOUT_MS = 5000;

type Client = Pick<Etcd3, "kv"> & Partial<Pick<Etcd3, "maintenance">>;

export async function* checkEtcd(store: EtcdStore, signal: AbortSignal): AsyncGenerator<Check> {
  const client: Client = clientOf(store);
  const place = etcdPlaceOf(store);
  yield* checkMembers(place);
  signal.throwIfAborted();
  const quota = await quotaOf(place);
  if (client.maintenance === undefined) yield unknown("etcd", "the client of the store has no `maintenance`");
  else yield* orUnknown("etcd", checkStatus(client.maintenance, quota));
  signal.throwIfAborted();
  yield* orUnknown("compaction", checkCompaction(client.kv, store.prefix, signal));
}

/** A user who may read the keys of the store need not be allowed to look at the cluster. */
async function* orUnknown(check: string, checks: AsyncGenerator<Check>): AsyncGenerator<Check> {
  try {
    yield* checks;
  } catch (error) {
    yield unknown(check, describeError(error));
  }
}

/** Over HTTP, which gives the time; only for a client that a URL has made. */
async function* checkMembers(place: LazyEtcdClient["place"] | undefined): AsyncGenerator<Check> {
  if (place === undefined) {
    yield unknown("clock", "gRPC does not show it; with an etcd: URL, HTTP does");
    return;
  }
  const answers = await Promise.allSettled(place.hosts.map(host => getFrom(host, "/version", place)));
  for (const [index, answer] of answers.entries()) {
    const host = place.hosts[index] as string;
    if (answer.status === "fulfilled") {
      yield ok("member", `${host}: etcd ${versionIn(answer.value.body)}`);
      yield checkClock(answer.value.date, answer.value.sentAt, answer.value.receivedAt, host);
    } else
      yield problem(
        "member",
        `${host}: ${describeError(answer.reason)}`,
        "Start this member, or take it out of the URL.",
      );
    if (host.startsWith("http:") && !/^http:\/\/(localhost|127\.|\[::1\])/.test(host)) {
      yield warning(
        "tls",
        `${host} is reached without TLS`,
        "Use etcds: so that nobody on the network reads sessions and passwords.",
      );
    }
  }
}

function versionIn(body: string): string {
  return /"etcdserver":"([^"]+)"/.exec(body)?.[1] ?? "of an unknown version";
}

async function quotaOf(place: LazyEtcdClient["place"] | undefined): Promise<number | undefined> {
  if (place === undefined) return undefined;
  for (const host of place.hosts) {
    const answer = await getFrom(host, "/metrics", place).catch(() => undefined);
    const quota = metricIn(answer?.body ?? "", "etcd_server_quota_backend_bytes");
    // 0 stands for the default.
    if (quota !== undefined) return quota || DEFAULT_QUOTA;
  }
  return undefined;
}

async function* checkStatus(
  maintenance: Etcd3["maintenance"],
  quota: number | undefined,
): AsyncGenerator<Check> {
  const options = () => ({ deadline: Date.now() + TIMEOUT_MS });
  const { version, dbSize, leader } = await maintenance.status(options());
  const [major = 0, minor = 0] = version.split(".").map(Number);
  yield major > 3 || minor >= 4
    ? ok("version", `etcd ${version}`)
    : warning("version", `etcd ${version}`, "Upgrade: tested with 3.4.");
  yield leader === "0"
    ? problem("leader", "there is none", "Start a majority of the members.")
    : ok("leader", `member ${BigInt(leader).toString(16)}`);
  const share = Number(dbSize) / (quota ?? DEFAULT_QUOTA);
  const whose = quota === undefined ? ", the default: this one's quota cannot be read" : "";
  const text = `${formatSize(Number(dbSize))}, ${(share * 100).toFixed(0)} % of ${formatSize(quota ?? DEFAULT_QUOTA)}${whose}`;
  yield share < FULL_SHARE
    ? ok("quota", text)
    : problem(
        "quota",
        text,
        "Compact and defragment (etcdctl compact, etcdctl defrag), or raise --quota-backend-bytes: a full database takes no writes.",
      );
  const { alarms } = await maintenance.alarm({ action: "Get", memberID: "0", alarm: "None" }, options());
  const raised = (alarms ?? []).map(({ alarm }) => String(alarm)).filter(alarm => alarm !== "None");
  yield raised.length === 0
    ? ok("alarms", "none")
    : problem(
        "alarms",
        raised.join(", "),
        "Free space (etcdctl compact, etcdctl defrag), then etcdctl alarm disarm. For Corrupt see etcd's manual.",
      );
}

/** Looks for the oldest revision that is still there. */
async function* checkCompaction(kv: Etcd3["kv"], prefix: string, signal: AbortSignal): AsyncGenerator<Check> {
  const key = Buffer.from(`${prefix}%doctor`);
  const read = (revision: number) =>
    kv.range({ key, revision: String(revision), count_only: true }, { deadline: Date.now() + TIMEOUT_MS });
  const latest = Number((await read(0)).header.revision);
  const isThere = (revision: number) =>
    read(revision).then(
      () => true,
      error => {
        if (/compacted/.test(String(error))) return false;
        throw error;
      },
    );
  let [gone, there] = [0, latest];
  while (there - gone > 1) {
    signal.throwIfAborted();
    const middle = Math.floor((gone + there) / 2);
    if (await isThere(middle)) there = middle;
    else gone = middle;
  }
  const kept = latest - there;
  const text = there === 1 ? `never; ${latest} revisions` : `${kept} revisions are kept of ${latest}`;
  const advice =
    "Start etcd with --auto-compaction-mode=periodic --auto-compaction-retention=5m: the store needs no history.";
  const isTooMuch = kept > MANY_REVISIONS || (there === 1 && latest > NEVER_COMPACTED);
  yield isTooMuch ? warning("compaction", text, advice) : ok("compaction", text);
}
