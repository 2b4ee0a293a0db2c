import { readFile } from "node:fs/promises";
import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { text } from "node:stream/consumers";
import type { LazyEtcdClient } from "../../create-store/etcd-client.js";

const TIMEOUT_MS = 3000;

/** What a member of etcd answers on its client port besides gRPC. */
export interface HttpAnswer {
  readonly body: string;
  readonly date: string | undefined;
  readonly sentAt: number;
  readonly receivedAt: number;
}

/** @param path - `/version`, `/health`, `/metrics`: they need no sign-in */
export async function getFrom(
  host: string,
  path: string,
  { files }: LazyEtcdClient["place"],
): Promise<HttpAnswer> {
  const { ca, cert, key } = files;
  const content = (file: string | undefined) => (file === undefined ? undefined : readFile(file));
  const tls = { ca: await content(ca), cert: await content(cert), key: await content(key) };
  const url = new URL(path, host);
  const sentAt = Date.now();
  return await new Promise((resolve, reject) => {
    const options = { ...tls, timeout: TIMEOUT_MS, signal: AbortSignal.timeout(TIMEOUT_MS) };
    const send = url.protocol === "https:" ? requestHttps : requestHttp;
    const request = send(url, options, response => {
      const receivedAt = Date.now();
      const { date } = response.headers;
      text(response).then(body => resolve({ body, date, sentAt, receivedAt }), reject);
    });
    request.on("error", reject).end();
  });
}

/** The value of a metric in Prometheus' text format. */
export function metricIn(body: string, name: string): number | undefined {
  const value = new RegExp(`^${name} (\\S+)$`, "m").exec(body)?.[1];
  return value === undefined ? undefined : Number(value);
}
