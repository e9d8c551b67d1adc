/**
 * WebSockets: the handshake is a request like any other; after it, every message is put together, searched and sent on.
 * Extensions are not negotiated, so that what passes is what can be searched.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type Channel, type Parts, prepare, type Prepared, requestTraces } from './exchange.ts';
import { outcome, recordRefusal } from './records.ts';
import { refuseRaw, toRefusal } from './refusals.ts';
import { readHead } from './answer.ts';
import { createPieceSearch, type Hit } from './scanner/index.ts';
import { authorityText, RefusedError } from './target.ts';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const HANDSHAKE_MS = 20_000;
const HEAD_MOST = 32 * 1024;
const FRAGMENTS_MOST = 10_000;
const TEXT = 1;
const CLOSE = 8;
/** Of the client's own handshake; the service has one with us. */
const HANDSHAKE = new Set(['sec-websocket-key', 'sec-websocket-version', 'sec-websocket-extensions']);

export async function relayWebSocket(
  parts: Parts,
  request: IncomingMessage,
  client: Duplex,
  head: Buffer,
  channel: Channel,
): Promise<void> {
  const began = performance.now();
  client.on('error', () => undefined);
  let left = false;
  const isGone = () => left;
  client.once('close', () => (left = true));
  let prepared: Prepared | undefined;
  let values: ReadonlyMap<string, string>;
  try {
    if (
      request.method !== 'GET' ||
      request.headers.upgrade?.toLowerCase() !== 'websocket' ||
      request.headers['sec-websocket-version'] !== '13'
    )
      throw new RefusedError(400, 'BAD_UPGRADE', 'only WebSockets are upgraded to');
    channel.lease.busy += 1;
    client.once('close', () => (channel.lease.busy -= 1));
    prepared = await prepare(parts, request, channel, { isGone, alsoDropped: HANDSHAKE });
    values = await parts.credentials.forMessages(prepared.outgoing, channel.lease);
  } catch (error) {
    const refusal = toRefusal(error);
    // the intent that stands in the log has an end
    if (prepared !== undefined) outcome(parts, prepared.intent, prepared.intentId, { ...refusal.details, error: refusal.code });
    else {
      const trace = requestTraces.get(request);
      await recordRefusal(parts, refusal, { channel, trace, method: request.method ?? '', url: channel.path ?? request.url ?? '' });
    }
    return refuseRaw(client, refusal);
  }
  const { intent, intentId, sent, took } = prepared;
  // only now: a token that was made for this session is among what is looked for
  const scanner = parts.scanner();
  const { lease, target } = channel;
  let service: Duplex | undefined;
  let closed = false;
  const found = new Map<string, Hit>();
  const note = (hits: readonly Hit[]) => {
    for (const hit of hits) found.set(`${hit.secret} ${hit.variant}`, hit);
  };
  const bytes = { up: 0, down: 0 };
  let status = 0;
  const finish = (error?: RefusedError) => {
    if (closed) return;
    closed = true;
    lease.open.delete(cut);
    lease.withSecrets.delete(cut);
    client.destroy();
    service?.destroy();
    const hits = [...found.values()];
    if (hits.length > 0) parts.metrics.count('leaks', hits[0]?.secret ?? '');
    outcome(parts, intent, intentId, {
      status,
      bytes: bytes.down,
      bytes_sent: bytes.up,
      ...took,
      ms: Math.round(performance.now() - began),
      ...(hits.length > 0 ? { leaks: hits, alert: true } : {}),
      ...(error === undefined ? {} : { ...error.details, error: error.code }),
    });
  };
  const cut = () => finish(new RefusedError(407, 'LEASE_REVOKED', 'the lease ended'));
  lease.open.add(cut);
  if (prepared.credentialed || values.size > 0) lease.withSecrets.add(cut);
  client.once('close', () => finish());
  client.once('end', () => finish());
  // read on while the service makes up its mind: else nobody would see that the client has left
  const early: Buffer[] = [head];
  let waiting = head.length;
  const collect = (chunk: Buffer) => {
    early.push(chunk);
    waiting += chunk.length;
    if (waiting > HEAD_MOST) client.pause();
  };
  client.on('data', collect);
  try {
    if (isGone()) throw new RefusedError(499, 'CLIENT_GONE', 'the client went away');
    service = await parts.upstreams().dial(target);
    service.on('error', () => finish());
    if (isGone()) throw new RefusedError(499, 'CLIENT_GONE', 'the client went away');
    const key = randomBytes(16).toString('base64');
    const lines = [
      ['host', authorityText(target)],
      ['connection', 'Upgrade'],
      ['upgrade', 'websocket'],
      ['sec-websocket-version', '13'],
      ['sec-websocket-key', key],
      ...sent.headers,
    ];
    service.write(`GET ${sent.path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}`).join('\r\n')}\r\n\r\n`, 'latin1');
    const answer = await readAnswer(service);
    const answered = readHead(answer.status, answer.lines, scanner);
    note(answered.hits);
    const accept = createHash('sha1')
      .update(key + GUID)
      .digest('base64');
    const header = (name: string) => answered.headers.find(([each]) => each.toLowerCase() === name)?.[1];
    if (answer.status !== 101 || header('sec-websocket-accept') !== accept || header('sec-websocket-extensions') !== undefined)
      throw new RefusedError(502, 'UPGRADE_REFUSED', 'the service did not open a WebSocket', { status: answer.status });
    const ours = createHash('sha1').update(`${request.headers['sec-websocket-key']}${GUID}`).digest('base64');
    status = 101;
    const kept = answered.headers.filter(([name]) => !['sec-websocket-accept', 'connection', 'upgrade'].includes(name.toLowerCase()));
    client.write(
      `HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ${ours}\r\n${kept.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`,
      'latin1',
    );
    client.off('data', collect);
    relay(answer.rest);
  } catch (error) {
    const refusal = toRefusal(error);
    refuseRaw(client, refusal);
    finish(refusal);
  }

  function relay(rest: Buffer): void {
    const most = parts.rules().limits.websocketMessage;
    const { action } = parts.rules().scan;
    const up = createFrameReader(most, (frame) => {
      const { hits: leaked } = scanner.scan(frame.payload);
      if (leaked.length > 0)
        throw new RefusedError(403, 'SECRET_IN_REQUEST', 'a message has the real value of a secret in it', {
          leaks: leaked,
          alert: true,
        });
      if (frame.opcode < 8) {
        for (const [placeholder, secret] of lease.placeholders) {
          if (!frame.payload.includes(placeholder)) continue;
          if (!parts.credentials.binding(secret).places.body || !values.has(placeholder))
            throw new RefusedError(403, 'PLACEHOLDER_NOT_BOUND', `the placeholder of ${secret} may not stand in a message`, { secret });
          frame.payload = Buffer.from(
            frame.payload
              .toString('latin1')
              .replaceAll(placeholder, () => Buffer.from(values.get(placeholder) as string).toString('latin1')),
            'latin1',
          );
        }
      }
      bytes.up += frame.payload.length;
      return (service as Duplex).write(encodeFrame(frame, randomBytes(4)));
    });
    const pieces = createPieceSearch(scanner, (error) => {
      if (error !== undefined) finish(toRefusal(error));
      else if (!closed) client.write(pieces.take());
    });
    client.once('close', () => pieces.drop());
    // it may end without a word, and with something that is held back
    (service as Duplex).once('end', () => {
      pieces.end();
      if (!closed) client.write(pieces.take());
    });
    const down = createFrameReader(most, (frame) => {
      const known = found.size;
      const { data, hits } = scanner.scan(frame.payload);
      note(hits);
      bytes.down += data.length;
      const clean = { ...frame, payload: data };
      // control frames have nothing to wait for, but the last one is the last
      if (action === 'block' && hits.length > 0) throw new RefusedError(502, 'SECRET_IN_ANSWER', 'a message had a secret in it');
      if (frame.opcode > CLOSE) return client.write(encodeFrame(clean, undefined));
      pieces.push({
        bytes: encodeFrame(clean, undefined),
        text: frame.opcode === TEXT || isJson(data) ? data.toString('utf8') : undefined,
        rewrite: (text) => encodeFrame({ ...frame, payload: Buffer.from(text) }, undefined),
      });
      note(pieces.hits);
      if (action === 'block' && found.size > known) throw new RefusedError(502, 'SECRET_IN_ANSWER', 'a message had a secret in it');
      if (frame.opcode === CLOSE) pieces.end();
      const passed = pieces.take();
      return passed.length === 0 || client.write(passed);
    });
    pump(client, service as Duplex, up, Buffer.concat(early));
    pump(service as Duplex, client, down, rest);
  }

  function pump(from: Duplex, to: Duplex, reader: FrameReader, first: Buffer): void {
    const take = (chunk: Buffer) => {
      try {
        if (reader.push(chunk)) return;
        from.pause();
        to.once('drain', () => from.resume());
      } catch (error) {
        finish(toRefusal(error));
      }
    };
    from.on('data', take);
    from.once('close', () => finish());
    from.once('end', () => finish());
    if (first.length > 0) take(first);
    from.resume();
  }
}

/** Some services send theirs as binary messages. */
function isJson(data: Buffer): boolean {
  return data[0] === 0x7b || data[0] === 0x5b;
}

interface Answer {
  readonly status: number;
  readonly lines: string[];
  readonly rest: Buffer;
}

function readAnswer(service: Duplex): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let data = Buffer.alloc(0);
    const timer = setTimeout(() => fail(new RefusedError(504, 'UPSTREAM_TIMEOUT', 'the service did not answer in time')), HANDSHAKE_MS);
    const stop = () => {
      clearTimeout(timer);
      service.off('data', take).off('close', gone);
    };
    const fail = (error: Error) => (stop(), reject(error));
    const gone = () => fail(new RefusedError(502, 'UPSTREAM_FAILED', 'the service broke off'));
    const take = (chunk: Buffer) => {
      data = Buffer.concat([data, chunk]);
      const end = data.indexOf('\r\n\r\n');
      if (end < 0)
        return data.length > HEAD_MOST ? fail(new RefusedError(502, 'UPSTREAM_FAILED', 'the service sent too long a head')) : undefined;
      stop();
      service.pause();
      const [first = '', ...rest] = data.subarray(0, end).toString('latin1').split('\r\n');
      const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1] ?? 0);
      const lines = rest.flatMap((line) => {
        const cut = line.indexOf(':');
        return cut <= 0 ? [] : [line.slice(0, cut), line.slice(cut + 1).trim()];
      });
      resolve({ status, lines, rest: data.subarray(end + 4) });
    };
    service.on('data', take).once('close', gone);
  });
}

interface Frame {
  readonly opcode: number;
  payload: Buffer;
}

interface FrameReader {
  /** False when the other side is slow. */
  push(chunk: Buffer): boolean;
}

/** Puts fragments together; control frames may come between them. @throws RefusedError for what breaks the protocol or the limit */
function createFrameReader(most: number, onFrame: (frame: Frame) => boolean): FrameReader {
  let data: Buffer = Buffer.alloc(0);
  let parts: Buffer[] = [];
  let opcode = 0;
  let length = 0;
  let begun = false;
  let fragments = 0;
  return {
    push(chunk) {
      data = data.length === 0 ? chunk : Buffer.concat([data, chunk]);
      let flows = true;
      for (;;) {
        if (data.length < 2) return flows;
        const [a, b] = [data[0] as number, data[1] as number];
        if ((a & 0x70) !== 0) throw broken('a frame uses an extension that was not agreed on');
        let size = b & 0x7f;
        let at = 2;
        if (size === 126) {
          if (data.length < 4) return flows;
          size = data.readUInt16BE(2);
          at = 4;
        } else if (size === 127) {
          if (data.length < 10) return flows;
          size = Number(data.readBigUInt64BE(2));
          at = 10;
        }
        if (length + size > most) throw new RefusedError(413, 'MESSAGE_TOO_LONG', `a message has more than ${most} bytes`);
        const masked = (b & 0x80) !== 0;
        if (data.length < at + (masked ? 4 : 0) + size) return flows;
        const mask = masked ? data.subarray(at, (at += 4)) : undefined;
        const payload = Buffer.from(data.subarray(at, at + size));
        if (mask !== undefined) for (let i = 0; i < payload.length; i++) payload[i] = (payload[i] as number) ^ (mask[i & 3] as number);
        data = data.subarray(at + size);
        const code = a & 0x0f;
        const final = (a & 0x80) !== 0;
        if (code >= 8) {
          if (!final || size > 125) throw broken('a control frame is fragmented or too long');
          flows = onFrame({ opcode: code, payload }) && flows;
          continue;
        }
        if ((code === 0) !== begun) throw broken('fragments are out of order');
        if (code !== 0) opcode = code;
        if (++fragments > FRAGMENTS_MOST)
          throw new RefusedError(413, 'MESSAGE_TOO_LONG', `a message has more than ${FRAGMENTS_MOST} fragments`);
        if (size > 0) parts.push(payload);
        length += size;
        begun = !final;
        if (!final) continue;
        const whole = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
        fragments = 0;
        parts = [];
        length = 0;
        flows = onFrame({ opcode, payload: whole }) && flows;
      }
    },
  };
}

function broken(why: string): RefusedError {
  return new RefusedError(400, 'BAD_WEBSOCKET', why);
}

function encodeFrame({ opcode, payload }: Frame, mask: Buffer | undefined): Buffer {
  const size = payload.length;
  const extended = size < 126 ? 0 : size < 65_536 ? 2 : 8;
  const head = Buffer.alloc(2 + extended + (mask === undefined ? 0 : 4));
  head[0] = 0x80 | opcode;
  head[1] = (mask === undefined ? 0 : 0x80) | (extended === 0 ? size : extended === 2 ? 126 : 127);
  if (extended === 2) head.writeUInt16BE(size, 2);
  if (extended === 8) head.writeBigUInt64BE(BigInt(size), 2);
  if (mask === undefined) return Buffer.concat([head, payload]);
  mask.copy(head, 2 + extended);
  const sent = Buffer.from(payload);
  for (let i = 0; i < sent.length; i++) sent[i] = (sent[i] as number) ^ (mask[i & 3] as number);
  return Buffer.concat([head, sent]);
}
