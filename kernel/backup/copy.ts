/**
 * COPY over a connection of `pg`: rows as Postgres writes them, in its text format, which any later release of Postgres reads.
 * What arrives faster than it is taken makes the socket wait: no table is ever whole in memory.
 */
import type { Socket } from 'node:net';
import type pg from 'pg';

/** As the driver hands it to what it runs; its types name only a part of it. */
interface Connection {
  readonly stream: Socket;
  query(sql: string): void;
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
  sendCopyFail(message: string): void;
}

/** Pieces gathered before the socket is told to wait. */
const AHEAD_BYTES = 4 * 1024 * 1024;

/** What `copy … to stdout` sends, in pieces of whole rows; the generator's value is the number of rows. */
export async function* copyOut(client: pg.Client, sql: string): AsyncGenerator<Buffer, number> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  let rows = 0;
  let connection: Connection | undefined;
  let ended = false;
  let failed: Error | undefined;
  let wake = () => {};
  const arrived = () => wake();
  run(client, {
    submit(on) {
      connection = on;
      on.query(sql);
    },
    handleCopyData({ chunk }) {
      // the driver's buffer is used again for what comes next
      const piece = Buffer.from(chunk);
      pieces.push(piece);
      bytes += piece.length;
      if (bytes > AHEAD_BYTES) connection?.stream.pause();
      arrived();
    },
    handleCommandComplete({ text }) {
      rows = countOf(text);
    },
    handleError(error) {
      failed = error;
      ended = true;
      arrived();
    },
    handleReadyForQuery() {
      ended = true;
      arrived();
    },
  });
  try {
    for (;;) {
      if (pieces.length > 0) {
        const all = Buffer.concat(pieces.splice(0));
        bytes = 0;
        connection?.stream.resume();
        yield all;
        continue;
      }
      if (failed !== undefined) throw failed;
      if (ended) return rows;
      await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    // whoever stops early ends the connection: it must not wait for a socket that is held up
    connection?.stream.resume();
  }
}

/** Sends `copy … from stdin` its rows; answers their number. */
export async function copyIn(client: pg.Client, sql: string, pieces: AsyncIterable<Buffer>): Promise<number> {
  const begun = Promise.withResolvers<Connection>();
  const done = Promise.withResolvers<number>();
  let rows = 0;
  let failed: Error | undefined;
  let connection: Connection | undefined;
  // one of the two is looked at; the other must not count as forgotten
  begun.promise.catch(() => {});
  done.promise.catch(() => {});
  run(client, {
    submit(on) {
      connection = on;
      on.query(sql);
    },
    handleCopyInResponse: (on) => begun.resolve(on),
    handleCommandComplete({ text }) {
      rows = countOf(text);
    },
    handleError(error) {
      failed = error;
      begun.reject(error);
      done.reject(error);
      connection?.stream.emit('drain');
    },
    handleReadyForQuery: () => (failed === undefined ? done.resolve(rows) : undefined),
  });
  const on = await begun.promise;
  try {
    for await (const piece of pieces) {
      if (failed !== undefined) break;
      on.sendCopyFromChunk(piece);
      if (on.stream.writableNeedDrain) await new Promise<void>((resolve) => on.stream.once('drain', () => resolve()));
    }
  } catch (error) {
    on.sendCopyFail('the backup cannot be read on');
    await done.promise.catch(() => undefined);
    throw error;
  }
  if (failed === undefined) on.endCopyFrom();
  return done.promise;
}

interface Handlers {
  submit(connection: Connection): void;
  handleCopyData?(message: { readonly chunk: Buffer }): void;
  handleCopyInResponse?(connection: Connection): void;
  handleCommandComplete(message: { readonly text: string }): void;
  handleError(error: Error): void;
  handleReadyForQuery(): void;
}

function run(client: pg.Client, handlers: Handlers): void {
  client.query(handlers as unknown as pg.Submittable);
}

function countOf(tag: string): number {
  return Number(/^COPY (\d+)$/.exec(tag)?.[1] ?? 0);
}
