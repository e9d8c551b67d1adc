/** What a caller presents: its key and its body. Both are anybody's. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { brotliDecompressSync, gunzipSync, inflateSync, zstdDecompressSync } from 'node:zlib';
import type { JsonObject } from './dialect.ts';

export type Body = { readonly json: JsonObject; readonly length: number } | { readonly refused: number; readonly why: string };

const BIGGEST_BODY = 64 * 1024 * 1024;

/** Agents compress their long requests. */
const DECODERS: Readonly<Record<string, (body: Buffer, options: { maxOutputLength: number }) => Buffer>> = {
  gzip: gunzipSync,
  deflate: inflateSync,
  br: brotliDecompressSync,
  zstd: zstdDecompressSync,
};

export function readKey({ headers }: IncomingMessage): string | undefined {
  const key = headers['x-api-key'];
  if (typeof key === 'string') return key;
  return /^Bearer (.+)$/i.exec(headers.authorization ?? '')?.[1];
}

/** In a time that does not depend on where they differ. */
export function sameKey(presented: string, key: string): boolean {
  const [a, b] = [presented, key].map((each) => createHash('sha256').update(each).digest()) as [Buffer, Buffer];
  return timingSafeEqual(a, b);
}

export async function readBody(request: IncomingMessage): Promise<Body> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > BIGGEST_BODY) return { refused: 413, why: `The request is bigger than ${BIGGEST_BODY} bytes.` };
    chunks.push(chunk);
  }
  const encoding = request.headers['content-encoding'] ?? 'identity';
  const decode = DECODERS[encoding];
  if (decode === undefined && encoding !== 'identity') return { refused: 415, why: `The encoding ${encoding} is not known here.` };
  try {
    const raw = Buffer.concat(chunks);
    const text = (decode === undefined ? raw : decode(raw, { maxOutputLength: BIGGEST_BODY })).toString('utf8');
    const json: unknown = JSON.parse(text);
    if (typeof json === 'object' && json !== null && !Array.isArray(json)) return { json: json as JsonObject, length: text.length };
    return { refused: 400, why: 'The request is not a JSON object.' };
  } catch (error) {
    return { refused: 400, why: `The request cannot be read: ${(error as Error).message}` };
  }
}
