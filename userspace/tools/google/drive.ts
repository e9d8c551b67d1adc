import { randomUUID } from 'node:crypto';
import { method, type ToolContext, ToolFailure } from '@centaur/sdk';
import * as z from 'zod';
import { at } from '../_shared/rest.ts';
import { compact, cut } from '../_shared/results.ts';
import { get, nextPage, page_token, send } from './api.ts';

interface RawFile {
  readonly id: string;
  readonly name: string;
  readonly mimeType: string;
  readonly size?: string;
  readonly parents?: readonly string[];
  readonly modifiedTime?: string;
  readonly owners?: readonly { readonly emailAddress?: string }[];
  readonly webViewLink?: string;
  readonly trashed?: boolean;
}

const FIELDS = 'id,name,mimeType,size,parents,modifiedTime,owners(emailAddress),webViewLink,trashed';
const FOLDER = 'application/vnd.google-apps.folder';
const NATIVE = 'application/vnd.google-apps.';
/** What Google's own kinds are read as, and downloaded as. */
const READ_AS: Readonly<Record<string, string>> = {
  [`${NATIVE}document`]: 'text/markdown',
  [`${NATIVE}spreadsheet`]: 'text/csv',
  [`${NATIVE}presentation`]: 'text/plain',
};
const SAVED_AS: Readonly<Record<string, readonly [type: string, ending: string]>> = {
  [`${NATIVE}document`]: ['application/pdf', '.pdf'],
  [`${NATIVE}spreadsheet`]: ['application/vnd.openxmlformats-officedocument.spreadsheetml.sheet', '.xlsx'],
  [`${NATIVE}presentation`]: ['application/pdf', '.pdf'],
  [`${NATIVE}drawing`]: ['image/png', '.png'],
};
const TEXTS = /^text\/|^application\/(?:json|xml|yaml|x-yaml|javascript|x-sh|sql|toml)\b|\+(?:json|xml)$/;
const MOST_BYTES = 10 * 1024 * 1024;
const MOST_CHARACTERS = 200_000;

const file = z.string().min(1).max(256).describe('Id of the file or folder; find_files tells it');
const folder = z.string().min(1).max(256).describe('Id of the folder; root for the top');
const name = z.string().min(1).max(500);
const SHARED = { supportsAllDrives: true };

export const driveMethods = {
  find_files: method({
    description: 'Files and folders in Drive: by name, by their text, in a folder. Without anything: all, newest first.',
    risk: 'read',
    input: z.strictObject({
      name: z.string().optional().describe('Words that the name has'),
      text: z.string().optional().describe('Words that the file has'),
      folder: folder.optional().describe('Only what is directly in this folder'),
      kind: z.enum(['folder', 'document', 'spreadsheet', 'presentation', 'pdf']).optional(),
      limit: z.int().min(1).max(200).default(50),
      page_token,
    }),
    async run({ name, text, folder, kind, limit, page_token: pageToken }, ctx) {
      const type = kind === undefined ? undefined : kind === 'pdf' ? 'application/pdf' : NATIVE + kind;
      const conditions = [
        name === undefined ? undefined : `name contains '${quoted(name)}'`,
        text === undefined ? undefined : `fullText contains '${quoted(text)}'`,
        folder === undefined ? undefined : `'${quoted(folder)}' in parents`,
        type === undefined ? undefined : `mimeType = '${type}'`,
        'trashed = false',
      ];
      const raw = await get<{ readonly files?: readonly RawFile[]; readonly nextPageToken?: string }>(ctx, '/drive/v3/files', {
        q: conditions.filter(Boolean).join(' and '),
        pageSize: limit,
        pageToken,
        fields: `nextPageToken,files(${FIELDS})`,
        // Google refuses an order beside words of the text: then the best come first
        orderBy: text === undefined ? 'modifiedTime desc' : undefined,
        ...SHARED,
        includeItemsFromAllDrives: true,
      });
      return { items: (raw.files ?? []).map(toFile), ...nextPage(raw) };
    },
  }),

  get_file: method({
    description: 'What a file or folder is, without what is in it.',
    risk: 'read',
    input: z.strictObject({ file }),
    run: async ({ file }, ctx) => toFile(await describe(ctx, file)),
  }),

  read_file: method({
    description: `The text of a file: documents as Markdown, the first sheet of spreadsheets as CSV. Up to ${MOST_CHARACTERS} characters.`,
    risk: 'read',
    input: z.strictObject({ file }),
    async run({ file }, ctx) {
      const raw = await describe(ctx, file);
      const as = READ_AS[raw.mimeType];
      if (as === undefined && !TEXTS.test(raw.mimeType))
        throw new ToolFailure('NOT_TEXT', `${raw.name} is ${raw.mimeType}, which is no text: download_file has it as a file.`);
      const bytes = await contents(ctx, file, as);
      return { ...toFile(raw), text: cut(new TextDecoder().decode(bytes), MOST_CHARACTERS) };
    },
  }),

  download_file: method({
    description: 'Keeps a file of Drive with the conversation: documents and presentations as PDF, spreadsheets as .xlsx. Up to 10 MiB.',
    risk: 'read',
    input: z.strictObject({ file }),
    async run({ file }, ctx) {
      const raw = await describe(ctx, file);
      const [type, ending] = SAVED_AS[raw.mimeType] ?? [undefined, ''];
      if (type === undefined && raw.mimeType.startsWith(NATIVE))
        throw new ToolFailure('NO_CONTENT', `${raw.name} is ${raw.mimeType}, which has nothing to download.`);
      const data = await contents(ctx, file, type);
      return ctx.attach({ name: raw.name + ending, mimeType: type ?? raw.mimeType, data });
    },
  }),

  create_file: method({
    description: 'Writes a new file into Drive; as_document makes a Google document of Markdown, or a spreadsheet of CSV.',
    risk: 'write',
    input: z.strictObject({
      name,
      content: z.string().max(5_000_000),
      encoding: z.enum(['utf-8', 'base64']).default('utf-8').describe('base64 for what is no text'),
      mime_type: z
        .string()
        .regex(/^[\w.+-]+\/[\w.+-]+$/)
        .default('text/plain'),
      folder: folder.default('root'),
      as_document: z.enum(['document', 'spreadsheet']).optional(),
    }),
    async run({ name, content, encoding, mime_type: type, folder, as_document: kind }, ctx) {
      const boundary = `part-${randomUUID()}`;
      const about = { name, parents: [folder], mimeType: kind === undefined ? type : NATIVE + kind };
      const head = `--${boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n${JSON.stringify(about)}\r\n--${boundary}\r\nContent-Type: ${type}\r\n\r\n`;
      const body = Buffer.concat([
        Buffer.from(head),
        Buffer.from(content, encoding === 'base64' ? 'base64' : 'utf8'),
        Buffer.from(`\r\n--${boundary}--\r\n`),
      ]);
      const { data } = await send<RawFile>(ctx, {
        method: 'POST',
        path: '/upload/drive/v3/files',
        query: { uploadType: 'multipart', fields: FIELDS, ...SHARED },
        body,
        headers: { 'content-type': `multipart/related; boundary=${boundary}` },
      });
      return toFile(data);
    },
  }),

  create_folder: method({
    description: 'Makes a folder in Drive.',
    risk: 'write',
    input: z.strictObject({ name, folder: folder.default('root') }),
    async run({ name, folder }, ctx) {
      const { data } = await send<RawFile>(ctx, {
        method: 'POST',
        path: '/drive/v3/files',
        query: { fields: FIELDS, ...SHARED },
        json: { name, mimeType: FOLDER, parents: [folder] },
      });
      return toFile(data);
    },
  }),

  move_file: method({
    description: 'Gives a file or folder another name, or puts it into another folder.',
    risk: 'write',
    idempotent: true,
    input: z
      .strictObject({ file, name: name.optional(), to: folder.optional() })
      .refine((given) => given.name !== undefined || given.to !== undefined, 'give a name or a folder'),
    async run({ file, name, to }, ctx) {
      const from = to === undefined ? [] : ((await describe(ctx, file)).parents ?? []).filter((parent) => parent !== to);
      const moved = to === undefined ? {} : { addParents: to, ...(from.length === 0 ? {} : { removeParents: from.join(',') }) };
      return toFile(await change(ctx, file, name === undefined ? {} : { name }, moved));
    },
  }),

  trash_file: method({
    description: 'Puts a file or folder into the trash of Drive, where it stays for 30 days.',
    risk: 'write',
    idempotent: true,
    input: z.strictObject({ file }),
    run: async ({ file }, ctx) => toFile(await change(ctx, file, { trashed: true })),
  }),

  share_file: method({
    description: 'Lets a person read, comment or change a file or folder, and writes them a mail unless told otherwise.',
    risk: 'customer_facing',
    input: z.strictObject({
      file,
      email: z.email(),
      role: z.enum(['reader', 'commenter', 'writer']),
      send_mail: z.boolean().default(true),
      message: z.string().max(2000).optional().describe('In that mail'),
    }),
    async run({ file, email, role, send_mail: mails, message }, ctx) {
      const { data } = await send<{ readonly id: string }>(ctx, {
        method: 'POST',
        path: at`/drive/v3/files/${file}/permissions`,
        query: { sendNotificationEmail: mails, emailMessage: mails ? message : undefined, ...SHARED },
        json: { type: 'user', role, emailAddress: email },
      });
      return { file, email, role, permission: data.id };
    },
  }),
};

function describe(ctx: ToolContext, file: string): Promise<RawFile> {
  return get<RawFile>(ctx, at`/drive/v3/files/${file}`, { fields: FIELDS, ...SHARED });
}

/** @param as what Google's own kinds are turned into */
async function contents(ctx: ToolContext, file: string, as: string | undefined): Promise<Uint8Array> {
  const { data } = await send<Uint8Array>(
    ctx,
    as === undefined
      ? { path: at`/drive/v3/files/${file}`, query: { alt: 'media', ...SHARED }, bytes: MOST_BYTES }
      : { path: at`/drive/v3/files/${file}/export`, query: { mimeType: as }, bytes: MOST_BYTES },
  );
  return data;
}

async function change(ctx: ToolContext, file: string, json: unknown, query = {}): Promise<RawFile> {
  const path = at`/drive/v3/files/${file}`;
  return (await send<RawFile>(ctx, { method: 'PATCH', path, query: { fields: FIELDS, ...SHARED, ...query }, json, repeatable: true })).data;
}

function quoted(text: string): string {
  return text.replaceAll(/[\\']/g, String.raw`\$&`);
}

function toFile(raw: RawFile): Record<string, unknown> {
  const { id, name, mimeType, size, parents, modifiedTime, owners, webViewLink, trashed } = raw;
  return compact({
    id,
    name,
    kind: mimeType === FOLDER ? 'folder' : mimeType.replace(NATIVE, ''),
    size: size === undefined ? undefined : Number(size),
    folder: parents?.[0],
    modified_at: modifiedTime,
    owner: owners?.[0]?.emailAddress,
    trashed: trashed === true ? true : undefined,
    url: webViewLink,
  });
}
