/** By the message, since etcd3 has classes for a few of etcd's errors only. */
function says(pattern: RegExp): (error: unknown) => boolean {
  return error => pattern.test(error instanceof Error ? error.message : String(error));
}

/** The lease of a put does not exist. */
export const isLeaseMissing = says(/requested lease not found/);

/** A lease with this id was granted before. */
export const isLeaseGranted = says(/lease already exists/);

/** etcd rejected the request, or gRPC in front of etcd. */
export const isRequestTooLarge = says(/request is too large|received message larger than max/);

/** gRPC in this process rejected the response. */
export const isResponseTooLarge = says(/Received message larger than max/);

/** The database is full. Until somebody frees space and disarms the alarm, etcd takes reads and deletes only. */
export const isQuotaExceeded = says(/database space exceeded/);

const isInvalid = says(/INVALID_ARGUMENT|PERMISSION_DENIED/);

/** Whether one operation of a batch may have caused the error, so that the others can succeed without it. */
export function isPerOperationError(error: unknown): boolean {
  const causes = [isLeaseMissing, isRequestTooLarge, isResponseTooLarge, isQuotaExceeded, isInvalid];
  return causes.some(isCause => isCause(error));
}
