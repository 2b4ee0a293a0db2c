export type { EtcdStoreOptions } from "./etcd/options.js";
export { EtcdStore } from "./etcd/store.js";
