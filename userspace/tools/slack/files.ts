import { method, secret, type ToolContext, ToolFailure } from '@centaur/sdk';
import * as z from 'zod';
import { createRest } from '../_shared/rest.ts';
import { compact } from '../_shared/results.ts';
import { API, call, channel, read, ts } from './api.ts';

interface RawFile {
  readonly id: string;
  readonly name?: string | null;
  readonly title?: string | null;
  readonly mimetype?: string;
  readonly size?: number;
  readonly user?: string;
  readonly created?: number;
  readonly permalink?: string;
  readonly url_private_download?: string;
  readonly url_private?: string;
  readonly channels?: readonly string[];
}

const file = z
  .string()
  .regex(/^F[A-Z0-9]+$/)
  .describe('Id of the file, `F…`');

const MOST_BYTES = 20 * 1024 * 1024;

export const fileMethods = {
  upload_file: method({
    description: 'Uploads a file and shares it in a channel, or with thread_ts in a thread.',
    risk: 'write',
    input: z.strictObject({
      channel,
      name: z.string().min(1).describe('With its ending: `report.csv`'),
      content: z.string().min(1),
      encoding: z.enum(['utf-8', 'base64']).default('utf-8').describe('base64 for what is no text'),
      title: z.string().optional(),
      comment: z.string().max(40_000).optional().describe('The message that comes with it'),
      thread_ts: ts.optional(),
    }),
    async run({ channel, name, content, encoding, title, comment, thread_ts }, ctx) {
      const data = Buffer.from(content, encoding === 'base64' ? 'base64' : 'utf8');
      // nobody sees the file before it is complete, so up to there it may all be done twice
      const { upload_url, file_id } = await read<{ readonly upload_url: string; readonly file_id: string }>(
        ctx,
        'files.getUploadURLExternal',
        {
          filename: name,
          length: data.byteLength,
        },
      );
      await upload(ctx, upload_url, data);
      const { files } = await call<{ readonly files: readonly RawFile[] }>(ctx, 'files.completeUploadExternal', {
        files: [{ id: file_id, title: title ?? name }],
        channel_id: channel,
        initial_comment: comment,
        thread_ts,
      });
      return { id: file_id, name, size: data.byteLength, ...compact({ permalink: files[0]?.permalink }) };
    },
  }),

  get_file: method({
    description: 'What Slack knows of a file. download_file fetches it.',
    risk: 'read',
    input: z.strictObject({ file }),
    run: async (input, ctx) => toFile((await read<{ readonly file: RawFile }>(ctx, 'files.info', input)).file),
  }),

  download_file: method({
    description: 'Fetches a file as an attachment of this conversation, up to 20 MB.',
    risk: 'read',
    input: z.strictObject({ file }),
    async run(input, ctx) {
      const { file } = await read<{ readonly file: RawFile }>(ctx, 'files.info', input);
      const url = file.url_private_download ?? file.url_private;
      if (url === undefined) throw new ToolFailure('NOT_FOUND', 'Slack gives no address for this file: it may be kept elsewhere.');
      if ((file.size ?? 0) > MOST_BYTES)
        throw new ToolFailure('TOO_LARGE', `The file has ${file.size} bytes; at most ${MOST_BYTES} are fetched.`);
      const data = await download(ctx, url);
      return ctx.attach({ name: file.name ?? file.id, mimeType: file.mimetype ?? 'application/octet-stream', data });
    },
  }),

  delete_file: method({
    description: 'Deletes a file that this app has uploaded. It cannot be brought back.',
    risk: 'destructive',
    input: z.strictObject({ file }),
    async run(input, ctx) {
      await call(ctx, 'files.delete', input);
      return { ...input, deleted: true };
    },
  }),
};

/** The address is its own permission, on a host without the API's key. */
async function upload(ctx: ToolContext, url: string, data: Buffer): Promise<void> {
  const { origin, pathname, search } = new URL(url);
  const put = createRest({ name: 'Slack', base: origin, headers: () => ({}), explain: () => undefined });
  await put(ctx, {
    method: 'POST',
    path: pathname + search,
    body: data,
    headers: { 'content-type': 'application/octet-stream' },
    repeatable: true,
  });
}

async function download(ctx: ToolContext, url: string): Promise<Uint8Array> {
  const allowed = new Set([new URL(API).origin, 'https://files.slack.com']);
  if (!allowed.has(new URL(url).origin)) throw new ToolFailure('NOT_FOUND', `The file is not kept by Slack, but at ${new URL(url).host}.`);
  const { origin, pathname, search } = new URL(url);
  const fetchFile = createRest({
    name: 'Slack',
    base: origin,
    headers: () => ({ authorization: `Bearer ${secret('SLACK_BOT_TOKEN')}`, accept: '*/*' }),
    explain: () => undefined,
  });
  const { data, headers } = await fetchFile<Uint8Array>(ctx, { path: pathname + search, bytes: MOST_BYTES });
  // without files:read Slack shows a page to sign in on
  if (headers.get('content-type')?.startsWith('text/html') === true && !url.endsWith('.html'))
    throw new ToolFailure('FORBIDDEN', 'Slack: the file was not given out. SLACK_BOT_TOKEN may lack the scope files:read.');
  return data;
}

function toFile(raw: RawFile): Record<string, unknown> {
  return compact({
    id: raw.id,
    name: raw.name,
    title: raw.title === raw.name ? undefined : raw.title,
    mime_type: raw.mimetype,
    size: raw.size,
    user: raw.user,
    channels: raw.channels,
    created_at: raw.created === undefined ? undefined : new Date(raw.created * 1000).toISOString(),
    permalink: raw.permalink,
  });
}
