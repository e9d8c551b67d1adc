/** The tool `google` against the emulator; what the emulator has not (sharing, export, changes of events) is answered as Google documents it. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { ToolDefinition, ToolFile } from '@centaur/sdk';
import { type Emulator, startEmulator } from '../hosts-e2e/emulate.ts';
import { callMethod, failureOf } from './call.ts';
import { type Front, startFront } from './front.ts';

const TOKEN = 'ya29.0123456789-an-access-token';
const ME = 'ana@example.com';
const KIND = 'application/vnd.google-apps.';

let emulator: Emulator;
let front: Front;
let google: ToolDefinition;
/** Of events that are changed: the emulator cannot. */
const event = {
  id: 'ev1',
  etag: '"31811617"',
  status: 'confirmed',
  summary: 'Review',
  start: { dateTime: '2026-11-23T10:00:00Z' },
  end: { dateTime: '2026-11-23T11:00:00Z' },
  attendees: [{ email: 'bo@example.com', responseStatus: 'accepted' }],
};

before(async () => {
  emulator = await startEmulator('google', {
    tokens: { [TOKEN]: { login: ME, scopes: ['openid'] } },
    google: {
      users: [{ email: ME, name: 'Ana Lima' }],
      messages: [
        {
          id: 'msg1',
          thread_id: 'thr1',
          from: 'Bo <bo@example.com>',
          to: ME,
          subject: 'The door',
          body_text: 'It sticks.\r\nCan you look?',
          date: '2026-11-20T10:00:00.000Z',
          message_id: '<one@example.com>',
          label_ids: ['INBOX', 'UNREAD'],
        },
        {
          id: 'msg2',
          thread_id: 'thr2',
          from: 'news@example.com',
          to: ME,
          subject: 'News',
          body_html: '<html><style>p { color: red }</style><p>Much&nbsp;&amp; more</p><p>Bye</p></html>',
          date: '2026-11-19T10:00:00.000Z',
          label_ids: ['INBOX'],
        },
      ],
      calendars: [{ id: 'primary', summary: 'Ana', primary: true, time_zone: 'UTC' }],
      calendar_events: [
        {
          id: 'ev0',
          calendar_id: 'primary',
          summary: 'Stand-up',
          start_date_time: '2026-11-23T09:00:00Z',
          end_date_time: '2026-11-23T09:15:00Z',
          attendees: [{ email: 'bo@example.com' }],
        },
        {
          id: 'ev9',
          calendar_id: 'primary',
          summary: 'Later',
          start_date_time: '2027-01-01T09:00:00Z',
          end_date_time: '2027-01-01T10:00:00Z',
        },
      ],
      drive_items: [
        { id: 'folder1', name: 'Plans', mime_type: `${KIND}folder` },
        { id: 'file1', name: 'plan.txt', mime_type: 'text/plain', parent_ids: ['folder1'], data: 'First the door.' },
        { id: 'doc1', name: 'Minutes', mime_type: `${KIND}document` },
        { id: 'pic1', name: 'door.png', mime_type: 'image/png', data: 'not really' },
      ],
    },
  });
  front = await startFront({
    'GET /calendar/v3/calendars/primary/events/ev1': () => ({ body: event }),
    'PATCH /calendar/v3/calendars/primary/events/ev1': ({ body }) => ({ body: { ...event, ...(JSON.parse(body.toString()) as object) } }),
    'GET /drive/v3/files/doc1/export': ({ query }) =>
      ['text/markdown', 'application/pdf'].includes(query.get('mimeType') ?? '')
        ? { headers: { 'content-type': 'text/markdown' }, body: '# Minutes\n\nWe met.' }
        : {
            status: 400,
            body: { error: { code: 400, message: 'The requested conversion is not supported.', errors: [{ reason: 'badRequest' }] } },
          },
    'POST /drive/v3/files/file1/permissions': ({ body }) => ({ body: { id: 'perm1', ...(JSON.parse(body.toString()) as object) } }),
  });
  front.target = emulator.url;
  process.env['GOOGLE_API_URL'] = front.url;
  process.env['GOOGLE_OAUTH'] = TOKEN;
  google = (await import('../../userspace/tools/google/tool.ts')).default;
});

after(async () => {
  front.close();
  await emulator.close();
});

const call = (method: string, args: unknown = {}, options = {}) => callMethod(google, method, args, options);
const sent = () => JSON.parse(front.last.body.toString()) as Record<string, unknown>;

test('the token goes to the declared hosts, in its header', async () => {
  await call('list_calendars');
  assert.equal(front.last.headers.authorization, `Bearer ${TOKEN}`);
  assert.deepEqual(google.secrets?.[0]?.hosts, [new URL(front.url).host]);
  assert.equal(google.secrets?.[0]?.type, 'oauth_token');
});

test('what other people get needs a person', () => {
  const risky = Object.entries(google.methods).filter(([, { risk }]) => risk === 'customer_facing');
  assert.deepEqual(
    risky.map(([name]) => name),
    ['invite_guests', 'share_file', 'send_draft', 'send_message'],
  );
});

test('calendars and events', async () => {
  assert.deepEqual((await call('list_calendars')).items, [
    { id: 'primary', summary: 'Ana', primary: true, access: 'owner', time_zone: 'UTC' },
  ]);
  const span = { from: '2026-11-23T00:00:00Z', to: '2026-11-24T00:00:00+01:00' };
  const { items } = await call('list_events', span);
  assert.deepEqual(
    items.map(({ id, summary, start, guests }: Record<string, unknown>) => ({ id, summary, start, guests })),
    [{ id: 'ev0', summary: 'Stand-up', start: '2026-11-23T09:00:00Z', guests: [{ email: 'bo@example.com' }] }],
  );
  assert.deepEqual([front.last.query.get('singleEvents'), front.last.query.get('orderBy')], ['true', 'startTime']);
  const busy = await call('get_free_busy', {
    calendars: ['primary', 'room@example.com'],
    from: '2026-11-23T00:00:00Z',
    to: '2026-11-24T00:00:00Z',
  });
  assert.equal(busy.items[0].busy.length, 1);
  assert.equal(busy.items[1].error, 'notFound');
});

test('an event is made once for each call, under an id that Google takes', async () => {
  const given = { summary: 'Oil the hinge', start: '2026-11-25', end: '2026-11-26' };
  const made = await call('create_event', given, { idempotencyKey: 'once' });
  assert.deepEqual([made.summary, made.start], ['Oil the hinge', '2026-11-25']);
  const { id } = sent();
  assert.match(String(id), /^[0-9a-v]{5,1024}$/);
  front.next({
    status: 409,
    body: { error: { code: 409, message: 'The requested identifier already exists.', errors: [{ reason: 'duplicate' }] } },
  });
  front.next({ body: { ...event, id } });
  assert.equal((await call('create_event', given, { idempotencyKey: 'once' })).id, id);
  await call('delete_event', { event: made.id });
  assert.equal((await failureOf(call('delete_event', { event: made.id }))).code, 'NOT_FOUND');
  front.next({ status: 410, body: { error: { code: 410, message: 'Resource has been deleted', errors: [{ reason: 'deleted' }] } } });
  assert.deepEqual(await call('delete_event', { event: 'ev1' }), { event: 'ev1', deleted: true });
});

test('changes of an event write to nobody; invitations add to the guests that there are', async () => {
  await call('update_event', { event: 'ev1', start: '2026-11-23', end: '2026-11-24' });
  assert.equal(front.last.query.get('sendUpdates'), 'none');
  assert.deepEqual(sent(), { start: { date: '2026-11-23', dateTime: null }, end: { date: '2026-11-24', dateTime: null } });
  await call('invite_guests', { event: 'ev1', guests: ['BO@example.com', 'cy@example.com'] });
  assert.equal(front.last.query.get('sendUpdates'), 'all');
  assert.deepEqual(sent(), { attendees: [...event.attendees, { email: 'cy@example.com' }] });
  const half = await failureOf(call('update_event', { event: 'ev1', start: '2026-11-23' }));
  assert.match(half.message, /start and end/);
});

test('who is a guest is not asked again, and what others change at the same time is kept', async () => {
  const before = front.seen.length;
  const same = await call('invite_guests', { event: 'ev1', guests: ['BO@example.com'] });
  assert.equal(same.guests.length, 1);
  assert.deepEqual(
    front.seen.slice(before).map(({ line }) => line.split(' ')[0]),
    ['GET'],
  );
  const changed = { status: 412, body: { error: { code: 412, message: 'Precondition Failed', errors: [{ reason: 'conditionNotMet' }] } } };
  const joined = { ...event, etag: '"31811618"', attendees: [...event.attendees, { email: 'di@example.com' }] };
  for (const said of [{ body: event }, changed, { body: joined }]) front.next(said);
  await call('invite_guests', { event: 'ev1', guests: ['CY@example.com', 'cy@example.com'] });
  assert.deepEqual(
    front.seen.slice(-3).map(({ headers }) => headers['if-match']),
    [event.etag, undefined, joined.etag],
  );
  assert.deepEqual(sent(), { attendees: [...joined.attendees, { email: 'cy@example.com' }] });
  for (let i = 0; i < 4; i++) for (const said of [{ body: event }, changed]) front.next(said);
  assert.equal((await failureOf(call('invite_guests', { event: 'ev1', guests: ['cy@example.com'] }))).code, 'PRECONDITION_FAILED');
});

test('only what may be done twice is called idempotent: sharing writes to the person each time', () => {
  assert.deepEqual(
    ['invite_guests', 'share_file', 'send_draft', 'send_message'].map((name) => google.methods[name]?.idempotent === true),
    [true, false, false, false],
  );
});

test('files are found, read, kept and written', async () => {
  const found = await call('find_files', { folder: 'folder1' });
  assert.deepEqual(
    found.items.map(({ id, name, kind, folder }: Record<string, unknown>) => ({ id, name, kind, folder })),
    [{ id: 'file1', name: 'plan.txt', kind: 'text/plain', folder: 'folder1' }],
  );
  await call('find_files', { name: `Ana's \\ plan`, kind: 'document' });
  assert.equal(front.last.query.get('q'), String.raw`name contains 'Ana\'s \\ plan' and mimeType = '${KIND}document' and trashed = false`);
  assert.equal((await call('read_file', { file: 'file1' })).text, 'First the door.');
  assert.equal((await call('read_file', { file: 'doc1' })).text, '# Minutes\n\nWe met.');
  assert.equal((await failureOf(call('read_file', { file: 'pic1' }))).code, 'NOT_TEXT');
  const attached: ToolFile[] = [];
  await call('download_file', { file: 'doc1' }, { attached });
  await call('download_file', { file: 'pic1' }, { attached });
  assert.deepEqual(
    attached.map(({ name, mimeType }) => [name, mimeType]),
    [
      ['Minutes.pdf', 'application/pdf'],
      ['door.png', 'image/png'],
    ],
  );
  const made = await call('create_file', { name: 'räume.csv', content: 'a,b\n1,ü\n', mime_type: 'text/csv', folder: 'folder1' });
  assert.deepEqual(
    [made.name === 'räume.csv' || made.name, made.kind, made.folder],
    [made.name === 'räume.csv' || made.name, 'text/csv', 'folder1'],
  );
  assert.match(front.last.body.toString(), /"name":"räume\.csv"[\s\S]*\r\n\r\na,b\n1,ü\n\r\n--part-/);
  const folder = await call('create_folder', { name: 'Old' });
  assert.equal(folder.kind, 'folder');
  assert.equal((await call('move_file', { file: 'file1', to: folder.id, name: 'old.txt' })).name, 'old.txt');
  assert.deepEqual([front.last.query.get('addParents'), front.last.query.get('removeParents')], [folder.id, 'folder1']);
  await call('trash_file', { file: 'file1' });
  assert.deepEqual(sent(), { trashed: true });
  await call('share_file', { file: 'file1', email: 'bo@example.com', role: 'reader', send_mail: false });
  assert.deepEqual([front.last.query.get('sendNotificationEmail'), sent()['role']], ['false', 'reader']);
});

test('mails are found and read, HTML as text', async () => {
  const { items } = await call('search_messages', { query: 'from:bo@example.com' });
  assert.deepEqual(
    items.map(({ message, subject, from, date }: Record<string, unknown>) => ({ message, subject, from, date })),
    [{ message: 'msg1', subject: 'The door', from: 'Bo <bo@example.com>', date: '2026-11-20T10:00:00.000Z' }],
  );
  assert.equal((await call('get_message', { message: 'msg1' })).text, 'It sticks.\nCan you look?');
  assert.equal((await call('get_message', { message: 'msg2' })).text, 'Much & more\nBye');
  assert.equal((await call('get_conversation', { thread: 'thr1' })).items.length, 1);
  assert.ok((await call('list_labels')).items.some(({ id }: { id: string }) => id === 'INBOX'));
  await call('change_labels', { messages: ['msg1'], remove: ['UNREAD'] });
  assert.ok(!(await call('get_message', { message: 'msg1' })).labels.includes('UNREAD'));
  await call('trash_message', { message: 'msg2' });
  assert.ok((await call('get_message', { message: 'msg2' })).labels.includes('TRASH'));
});

test('an answer joins its conversation, and no header can be slipped in', async () => {
  const made = await call('create_draft', {
    to: ['bo@example.com'],
    subject: `Re: Die Tür ${'x'.repeat(80)}\r\nBcc: eve@example.com`,
    text: 'Heute noch.\nÄhm.',
    reply_to_message: 'msg1',
  });
  const { message } = sent() as { message: { raw: string; threadId: string } };
  const [head = '', body = ''] = Buffer.from(message.raw, 'base64url').toString().split('\r\n\r\n');
  assert.equal(message.threadId, 'thr1');
  assert.match(head, /^In-Reply-To: <one@example\.com>$/m);
  assert.doesNotMatch(head, /^Bcc:/m);
  assert.ok(
    head.split('\r\n').every((line) => line.length <= 78),
    head,
  );
  assert.equal(Buffer.from(body, 'base64').toString(), 'Heute noch.\r\nÄhm.');
  assert.equal((await call('list_drafts')).items[0].draft, made.draft);
  const done = await call('send_draft', { draft: made.draft });
  assert.ok(done.message);
  await call('send_message', { to: ['bo@example.com', 'cy@example.com'], cc: ['di@example.com'], subject: 'Plain', text: 'Hello' });
  const raw = Buffer.from(String(sent()['raw']), 'base64url').toString();
  assert.match(raw, /^To: bo@example\.com, cy@example\.com\r\nCc: di@example\.com\r\nSubject: Plain\r\n/);
  const headers = [{ name: 'Message-ID', value: '<x@example.com>\r\nBcc: eve@example.com' }];
  front.next({ body: { id: 'm', threadId: 't', payload: { headers } } });
  await call('send_message', { to: ['bo@example.com'], subject: 'Re', text: 'Hello', reply_to_message: 'm' });
  assert.doesNotMatch(Buffer.from(String(sent()['raw']), 'base64url').toString(), /^Bcc:/m);
  assert.equal((await failureOf(call('send_message', { to: ['a@b.c>\r\nBcc: e'], subject: 's', text: 't' }))).code, 'INVALID_ARGUMENTS');
});

test('an attachment is kept with the conversation', async () => {
  const payload = {
    mimeType: 'multipart/mixed',
    parts: [
      { mimeType: 'text/plain', body: { data: 'SGk' } },
      { mimeType: 'application/pdf', filename: 'plan.pdf', body: { attachmentId: 'att1', size: 3 } },
    ],
  };
  const attached: ToolFile[] = [];
  front.next({ body: { id: 'm', threadId: 't', payload } });
  front.next({ body: { size: 3, data: Buffer.from('PDF').toString('base64url') } });
  await call('download_attachment', { message: 'm', name: 'plan.pdf' }, { attached });
  assert.deepEqual(
    attached.map(({ name, data }) => [name, Buffer.from(data).toString()]),
    [['plan.pdf', 'PDF']],
  );
  front.next({ body: { id: 'm', threadId: 't', payload } });
  assert.equal((await failureOf(call('download_attachment', { message: 'm', name: 'other.pdf' }))).code, 'NOT_FOUND');
});

test('refusals say what to do', async () => {
  const refused = (code: number, reason: string, message: string) => ({
    status: code,
    body: { error: { code, message, errors: [{ reason, message }] } },
  });
  const failures = [
    [refused(401, 'authError', 'Invalid Credentials'), 'UNAUTHORIZED', false],
    [refused(403, 'userRateLimitExceeded', 'User Rate Limit Exceeded'), 'RATE_LIMITED', true],
    [refused(403, 'insufficientPermissions', 'Request had insufficient authentication scopes.'), 'MISSING_SCOPE', false],
    [refused(404, 'notFound', 'File not found: x.'), 'NOT_FOUND', false],
  ] as const;
  for (const [said, code, retryable] of failures) {
    front.next(said);
    const failure = await failureOf(call('get_file', { file: 'x' }));
    assert.deepEqual([failure.code, failure.retryable], [code, retryable]);
  }
  front.next({ status: 500, body: {} });
  const lost = await failureOf(call('send_message', { to: ['bo@example.com'], subject: 's', text: 't' }));
  assert.equal(lost.retryable, false);
  assert.match(lost.message, /look before you call again/);
});
