import { checkOptions, rules } from "../../core/options.js";
import { type Reading, readerOf, type SessionReader, sessionOf } from "./reading.js";

/** A Pool or a Client of `pg`. */
export interface PgClient {
  query(text: string, values: string[]): Promise<{ rows: unknown[] }>;
}

/** The options of {@link readConnectPgSimple}: those of connect-pg-simple that say where sessions are. */
export interface ConnectPgSimpleReaderOptions {
  /** A Pool or a connected Client of `pg`, with the time zone of the connections that write. It is not closed. */
  pool: PgClient;
  /** @defaultValue the first schema of the search path that has the table */
  schemaName?: string | undefined;
  /** @defaultValue `"session"` */
  tableName?: string | undefined;
}

interface Row {
  readonly sid: string;
  readonly sess: string;
  readonly expires_at: string | number;
}

const PAGE_SIZE = 200;

/**
 * Reads the sessions of connect-pg-simple in pages, in the order of the primary key. The expiry is the column `expire`,
 * which `touch` moves without the cookie in the session.
 *
 * Format: `table.sql` and `set` in connect-pg-simple 10. The column has no time zone: PostgreSQL takes it for a time in
 * that of the connection, as it does when connect-pg-simple writes it.
 *
 * @throws TypeError for an unknown or ill-typed option
 */
export function readConnectPgSimple(options: ConnectPgSimpleReaderOptions): SessionReader {
  checkOptions("readConnectPgSimple", options, {
    pool: {
      test: value => typeof (value as Partial<PgClient> | null)?.query === "function",
      required: true,
      expected: "a Pool or a Client of pg",
    },
    schemaName: rules.nonEmptyString,
    tableName: rules.nonEmptyString,
  });
  return readerOf(() => read(options));
}

async function* read({ pool, schemaName, tableName = "session" }: ConnectPgSimpleReaderOptions): Reading {
  const table = [schemaName, tableName]
    .filter(name => name !== undefined)
    .map(quoted)
    .join(".");
  // As text, whatever parsers the application has set for JSON and for times.
  const columns = "sid, sess::text AS sess, extract(epoch FROM expire::timestamptz) * 1000 AS expires_at";
  let after: string | undefined;
  do {
    const where = after === undefined ? "" : "WHERE sid > $1";
    const text = `SELECT ${columns} FROM ${table} ${where} ORDER BY sid LIMIT ${PAGE_SIZE}`;
    const { rows } = await pool.query(text, after === undefined ? [] : [after]);
    for (const { sid, sess, expires_at } of rows as Row[]) {
      yield* sessionOf(sid, Math.round(Number(expires_at)), () => JSON.parse(sess));
    }
    after = (rows as Row[])[PAGE_SIZE - 1]?.sid;
  } while (after !== undefined);
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
