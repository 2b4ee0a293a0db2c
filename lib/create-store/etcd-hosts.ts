import { isIPv6 } from "node:net";
import { decode, wrongUrl } from "./store-url.js";

/** The members of a cluster, and who signs in. */
export interface EtcdHosts {
  /** As `name:port`. */
  readonly hosts: readonly string[];
  readonly username: string | undefined;
  readonly password: string | undefined;
}

const DEFAULT_PORT = 2379;
const HOST = /^(\[[^[\]]*\]|[^:[\]]*)(?::(\d{1,5}))?$/;
const NAME = /^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_.])?$/;

/**
 * Reads `user:password@host:port,host:port`.
 *
 * @throws TypeError that shows nothing of it
 */
export function parseHosts(scheme: string, authority: string): EtcdHosts {
  const end = authority.indexOf("@");
  const credentials = end === -1 ? undefined : authority.slice(0, end);
  const list = authority.slice(end + 1);
  if (list.includes("@")) throw wrongUrl(scheme, "has several `@`: in a password write it as `%40`");
  const hosts = list.split(",").map((host, index, { length }) => {
    const [, name = "", port = DEFAULT_PORT] = HOST.exec(host) ?? [];
    const isName = name.startsWith("[") ? isIPv6(name.slice(1, -1)) : NAME.test(name);
    if (isName && Number(port) > 0 && Number(port) < 65_536) return `${name}:${Number(port)}`;
    throw wrongUrl(
      scheme,
      `has a wrong host, number ${index + 1} of ${length}: expected \`host\`, \`host:port\` or \`[IPv6 address]:port\`, separated by commas`,
    );
  });
  return { hosts, ...credentialsOf(scheme, credentials) };
}

function credentialsOf(scheme: string, credentials: string | undefined) {
  if (credentials === undefined) return { username: undefined, password: undefined };
  const colon = credentials.indexOf(":");
  const username = decode(scheme, colon === -1 ? credentials : credentials.slice(0, colon), "user");
  const password = colon === -1 ? undefined : decode(scheme, credentials.slice(colon + 1), "password");
  if (username === "") throw wrongUrl(scheme, "has no user before the `@`");
  if (password === "") throw wrongUrl(scheme, "has an empty password");
  return { username, password };
}
