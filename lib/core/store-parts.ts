import type { SessionCodec } from "./codec.js";
import type { GuardedBackend } from "./guarded-backend.js";
import type { WriteIds } from "./save/write-ids.js";
import type { WriteQueue } from "./save/write-queue.js";
import type { StoreSettings } from "./store-options.js";

/** What the operations on sessions need of a store. */
export interface StoreParts {
  readonly backend: GuardedBackend;
  readonly codec: SessionCodec;
  readonly settings: StoreSettings;
  readonly ids: WriteIds;
  /** Queues the sign-ins of each user, if they are limited: they would only reject each other. */
  readonly signIns: WriteQueue;
}
