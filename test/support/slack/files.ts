/** Files that people post: rows as emulate keeps its own, so that the app downloads them from there. */
import { randomBytes } from 'node:crypto';
import { type Channel, type Json, type StoredFile, TEAM, type World } from './world.ts';

export interface NewFile {
  readonly name: string;
  readonly mimetype: string;
  readonly content: string | Uint8Array;
}

export function storeFile(world: World, user: string, channel: Channel, { name, mimetype, content }: NewFile): StoredFile {
  const bytes = Buffer.from(content);
  const id = `F0${randomBytes(5).toString('hex').slice(0, 9).toUpperCase()}`;
  const url = `${String(world.tables.getData('url'))}/files-pri/${id}/${encodeURIComponent(name)}`;
  const created = Math.floor(world.clock.now() / 1000);
  const kind = name.split('.').at(-1) ?? '';
  const row = {
    file_id: id,
    team_id: TEAM.id,
    user,
    name,
    title: name,
    mimetype,
    filetype: kind,
    pretty_type: kind.toUpperCase(),
    mode: 'hosted',
    size: bytes.length,
    created,
    timestamp: created,
    url_private: url,
    url_private_download: `${url}?download=1`,
    permalink: `https://home.slack.com/files/${user}/${id}/${encodeURIComponent(name)}`,
    is_external: false,
    is_public: true,
    editable: false,
    deleted: false,
    shares: {},
    ...sharedIn(channel),
    content_base64: bytes.toString('base64'),
  };
  return world.files.insert(row);
}

/** Who may read a file are those who may read where it is. */
function sharedIn({ channel_id: id, is_im: isIm, is_private: isPrivate }: Channel): Json {
  const none = { channels: [], groups: [], ims: [] };
  if (isIm === true) return { ...none, ims: [id] };
  return isPrivate ? { ...none, groups: [id] } : { ...none, channels: [id] };
}
