import type { AbstractStore } from "../core/abstract-store.js";
import { LazyEtcdClient } from "../create-store/etcd-client.js";
import type { DynamoDBStore } from "../dynamodb.js";
import { clientOf, EtcdStore } from "../etcd/store.js";
import type { FileStore } from "../file.js";

/** A store by its class. At most one is set. */
export interface StoreKind {
  readonly file?: FileStore;
  readonly dynamodb?: DynamoDBStore;
  readonly etcd?: EtcdStore;
}

/** Loads the module of a class only if there is an object of it: its client may not be installed. */
export function kindOf(store: AbstractStore): StoreKind {
  if (isNamed(store, "FileStore")) {
    const { FileStore } = require("../file.js") as typeof import("../file.js");
    if (store instanceof FileStore) return { file: store };
  }
  if (isNamed(store, "DynamoDBStore")) {
    const { DynamoDBStore } = require("../dynamodb.js") as typeof import("../dynamodb.js");
    if (store instanceof DynamoDBStore) return { dynamodb: store };
  }
  if (store instanceof EtcdStore) return { etcd: store };
  return {};
}

/** Whether one of an object's classes has this name. */
export function isNamed(value: unknown, name: string): boolean {
  if (typeof value !== "object" || value === null) return false;
  for (let proto = Object.getPrototypeOf(value); proto !== null; proto = Object.getPrototypeOf(proto)) {
    if (proto.constructor?.name === name) return true;
  }
  return false;
}

/** Where the client of an etcd store connects to, if this package has made it. */
export function etcdPlaceOf(store: EtcdStore): LazyEtcdClient["place"] | undefined {
  const client: unknown = clientOf(store);
  return client instanceof LazyEtcdClient ? client.place : undefined;
}

/** Names a store for people, without anything secret. */
export function describeStore(store: AbstractStore): string {
  const { file, dynamodb, etcd } = kindOf(store);
  const prefix = `prefix ${JSON.stringify(store.prefix)}`;
  if (file !== undefined) return `the file ${file.path}, ${prefix}`;
  if (dynamodb !== undefined) return `the DynamoDB table ${dynamodb.tableName}, ${prefix}`;
  if (etcd === undefined) return `the ${store.constructor.name}, ${prefix}`;
  const hosts = etcdPlaceOf(etcd)?.hosts;
  return hosts === undefined ? `etcd, ${prefix}` : `etcd at ${hosts.join(", ")}, ${prefix}`;
}
