/**
 * A GitHub for tests: `emulate`'s, behind a door that adds what it has not (reactions, replies to review comments, `since`, ids of
 * deliveries, what an edited comment was before), signs and keeps what it delivers, makes calls fail, and watches the pace of the bot.
 */
import { createHmac, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { startEmulator } from '../../hosts-e2e/emulate.ts';
import { eventually } from '../wait.ts';

export const BOT = 'centaur-bot';
export const BOT_TOKEN = 'github_pat_of_centaur_bot';
export const WEBHOOK_SECRET = 'a-secret-of-the-webhook';
export const REPOSITORY = 'acme/site';

// oxlint-disable-next-line typescript/no-explicit-any -- answers of many shapes
type Json = any;

export interface AppSeed {
  readonly id: number;
  readonly slug: string;
  /** PEM. */
  readonly privateKey: string;
}

export interface Call {
  readonly method: string;
  readonly path: string;
  readonly at: number;
  readonly authorization: string;
}

/** `answer lost`: it is done, and nobody is told; `call lost`: it is not done; a status: refused with these headers. */
export type Fault =
  | 'answer lost'
  | 'call lost'
  | { readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly message?: string };

export interface Delivered {
  readonly id: string;
  readonly event: string;
  readonly payload: Json;
  readonly status: number;
}

export interface TestGitHub extends AsyncDisposable {
  readonly url: string;
  /** Where webhooks go. */
  pointAt(url: string | undefined): void;
  person(login: string): Person;
  /** Comments of an issue or pull request, oldest first. */
  comments(number: number): Promise<{ readonly id: number; readonly login: string; readonly body: string }[]>;
  /** Likewise, in the threads of review comments. */
  reviewComments(number: number): Promise<{ readonly id: number; readonly root: number; readonly login: string; readonly body: string }[]>;
  /** Such as `eyes`, in their order. @param on `comments/1`, or the number of an issue */
  reactions(on: string): readonly string[];
  readonly calls: readonly Call[];
  readonly deliveries: readonly Delivered[];
  /** What the bot did that GitHub does not allow. */
  readonly violations: readonly string[];
  /** What becomes of the next call that matches. */
  fault(line: RegExp, fault: Fault): void;
  /** Delivers it, signed. Answers the status. */
  deliver(event: string, payload: Json, more?: { readonly id?: string; readonly secret?: string }): Promise<number>;
  /** Of a webhook, as `emulate` makes it, without delivering it: for what no person of it could do. */
  changeNext(change: (payload: Json) => Json): void;
}

export interface Person {
  /** Its number. */
  issue(title: string, body: string): Promise<number>;
  comment(number: number, body: string): Promise<number>;
  edit(comment: number, body: string): Promise<void>;
  remove(comment: number): Promise<void>;
  pull(title: string, body: string, file: string): Promise<number>;
  review(number: number, body: string): Promise<number>;
  reviewComment(
    number: number,
    body: string,
    on: { readonly path: string; readonly line: number } | { readonly reply: number },
  ): Promise<number>;
}

export interface GitHubOptions {
  readonly app?: AppSeed;
  readonly port?: number;
}

const MEMBERS = ['ada', 'bob'];
const STRANGER = 'eve';
const EVENTS = ['issue_comment', 'issues', 'pull_request', 'pull_request_review', 'pull_request_review_comment'];
const SPACING_MS = 1_000;

export async function startGitHub({ app, port = 0 }: GitHubOptions = {}): Promise<TestGitHub> {
  const people = [...MEMBERS, STRANGER, BOT, 'admin'];
  const tokenOf = (login: string): string => (login === BOT ? BOT_TOKEN : `token-of-${login}`);
  const emulator = await startEmulator('github', {
    tokens: Object.fromEntries(people.map((login) => [tokenOf(login), { login, scopes: ['repo', 'user'] }])),
    github: {
      users: people.map((login) => ({ login })),
      orgs: [{ login: 'acme', members: [{ login: 'admin', role: 'admin' }, ...[...MEMBERS, BOT].map((login) => ({ login }))] }],
      repos: [{ owner: 'acme', name: 'site', description: 'Our site' }],
      ...(app === undefined
        ? {}
        : {
            apps: [
              {
                app_id: app.id,
                slug: app.slug,
                name: app.slug,
                private_key: app.privateKey,
                permissions: { issues: 'write', pull_requests: 'write', metadata: 'read' },
                events: EVENTS,
                installations: [{ installation_id: 99, account: 'acme', repository_selection: 'all' }],
              },
            ],
          }),
    },
  });
  const calls: Call[] = [];
  const deliveries: Delivered[] = [];
  const violations: string[] = [];
  const faults: { readonly line: RegExp; readonly fault: Fault }[] = [];
  const reactions = new Map<string, string[]>();
  const bodies = new Map<number, string>();
  const changes: ((payload: Json) => Json)[] = [];
  let target: string | undefined;
  let lastWrite = 0;
  let writing = 0;
  let delivering: Promise<unknown> = Promise.resolve();

  const server = createServer((request, response) => {
    serve(request, response).catch((error: Error) => response.writeHead(500).end(error.message));
  }).listen(port, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const body = Buffer.concat(parts).toString();
    const path = request.url ?? '/';
    const { method = 'GET' } = request;
    if (path === '/-/hook') {
      response.writeHead(200).end();
      const event = String(request.headers['x-github-event']);
      // one after the other, as they happened
      delivering = delivering.then(() => deliverOnce(event, JSON.parse(body)));
      return;
    }
    const authorization = request.headers.authorization ?? '';
    // a person may act as its account, too
    const isBot =
      request.headers['x-person'] === undefined && (authorization === `Bearer ${BOT_TOKEN}` || authorization.startsWith('Bearer ghs_'));
    const isWrite = isBot && method !== 'GET';
    if (isBot || authorization.startsWith('Bearer ey')) calls.push({ method, path, at: Date.now(), authorization });
    if (isWrite) watch(`${method} ${path}`);
    try {
      const index = isBot ? faults.findIndex(({ line }) => line.test(`${method} ${path}`)) : -1;
      const fault = index < 0 ? undefined : faults.splice(index, 1)[0]?.fault;
      if (typeof fault === 'object') {
        response.writeHead(fault.status, { 'content-type': 'application/json', ...fault.headers });
        response.end(JSON.stringify({ message: fault.message ?? 'no' }));
        return;
      }
      if (fault === 'call lost') return void request.socket.destroy();
      const answer = await answerTo(method, path, body, request);
      if (fault === 'answer lost') return void request.socket.destroy();
      response.writeHead(answer.status, { 'content-type': 'application/json', ...answer.headers }).end(answer.body);
    } finally {
      if (isWrite) writing--;
    }
  }

  function watch(line: string): void {
    const now = Date.now();
    if (writing++ > 0) violations.push(`${line}: while another write was under way`);
    if (now - lastWrite < SPACING_MS) violations.push(`${line}: ${now - lastWrite} ms after the write before`);
    lastWrite = now;
    if (calls.filter((each) => each.method !== 'GET' && now - each.at < 60_000 && !each.path.startsWith('/app/')).length > 80)
      violations.push(`${line}: more than 80 writes in a minute`);
  }

  interface Answer {
    readonly status: number;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body: string;
  }
  const json = (status: number, value: Json): Answer => ({ status, body: JSON.stringify(value) });

  async function answerTo(method: string, path: string, body: string, request: IncomingMessage): Promise<Answer> {
    const at = new URL(path, url);
    const authorization = request.headers.authorization ?? '';
    // docs.github.com/rest/reactions: the same one again is 200
    const [, on] = /^\/repos\/acme\/site\/((?:issues|pulls)\/comments\/\d+|issues\/\d+)\/reactions$/.exec(at.pathname) ?? [];
    if (on !== undefined && method === 'POST') {
      const { content } = JSON.parse(body) as { content: string };
      if (!['+1', '-1', 'laugh', 'confused', 'heart', 'hooray', 'rocket', 'eyes'].includes(content))
        return json(422, { message: 'Validation Failed' });
      const known = reactions.get(on) ?? [];
      if (known.includes(content)) return json(200, { content });
      reactions.set(on, [...known, content]);
      return json(201, { content });
    }
    // docs.github.com/rest/pulls/comments, "Create a reply for a review comment"
    const [, pull, comment] = /^\/repos\/acme\/site\/pulls\/(\d+)\/comments\/(\d+)\/replies$/.exec(at.pathname) ?? [];
    if (pull !== undefined && comment !== undefined)
      return pass(
        'POST',
        `/repos/acme/site/pulls/${pull}/comments`,
        JSON.stringify({ ...JSON.parse(body), in_reply_to_id: Number(comment) }),
        authorization,
      );
    if (body !== '' && (JSON.parse(body) as { body?: unknown }).body !== undefined && String(JSON.parse(body).body).length > 65_536)
      return json(422, { message: 'Validation Failed: body is too long (maximum is 65536 characters)' });
    const [, edited] = /^\/repos\/acme\/site\/(?:issues|pulls)\/comments\/(\d+)$/.exec(at.pathname) ?? [];
    if (method === 'PATCH' && edited !== undefined) {
      const before = await pass('GET', at.pathname, '', authorization);
      bodies.set(Number(edited), (JSON.parse(before.body) as { body?: string }).body ?? '');
    }
    const answer = await pass(method, path, body, authorization);
    // every pull request is an issue, too
    const [, issue] = /^\/repos\/acme\/site\/issues\/(\d+)$/.exec(at.pathname) ?? [];
    if (answer.status === 404 && method === 'GET' && issue !== undefined)
      return pass('GET', `/repos/acme/site/pulls/${issue}`, '', authorization);
    const since = at.searchParams.get('since');
    if (method !== 'GET' || since === null || answer.status !== 200) return answer;
    const recent = (JSON.parse(answer.body) as { updated_at: string }[]).filter((each) => Date.parse(each.updated_at) >= Date.parse(since));
    return json(200, recent);
  }

  async function pass(method: string, path: string, body: string, authorization: string): Promise<Answer> {
    const response = await fetch(emulator.url + path, {
      method,
      headers: { 'content-type': 'application/json', authorization },
      ...(body === '' ? {} : { body }),
    });
    const headers = Object.fromEntries([...response.headers].filter(([name]) => name.startsWith('x-')));
    return { status: response.status, headers, body: await response.text() };
  }

  async function as(login: string, method: string, path: string, body?: Json): Promise<Json> {
    const sent = body === undefined ? '' : JSON.stringify(body);
    const answer = await fetch(`${url}/repos/${REPOSITORY}${path}`, {
      method,
      headers: { authorization: `Bearer ${tokenOf(login)}`, 'content-type': 'application/json', 'x-person': login },
      ...(sent === '' ? {} : { body: sent }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text === '' ? undefined : JSON.parse(text);
  }

  async function deliverOnce(event: string, payload: Json): Promise<void> {
    // GitHub says what it was
    const from = bodies.get(payload.comment?.id);
    const told = payload.action === 'edited' && from !== undefined ? { ...payload, changes: { body: { from } } } : payload;
    if (target !== undefined) await deliver(event, (changes.shift() ?? ((same: Json) => same))(told));
  }

  async function deliver(event: string, payload: Json, more: { readonly id?: string; readonly secret?: string } = {}): Promise<number> {
    const { id = randomUUID(), secret = WEBHOOK_SECRET } = more;
    if (target === undefined) throw new Error('webhooks go nowhere: pointAt says where');
    const body = JSON.stringify(payload);
    const signature = `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`;
    const headers = {
      'content-type': 'application/json',
      'x-github-event': event,
      'x-github-delivery': id,
      'x-hub-signature-256': signature,
    };
    const status = await fetch(target, { method: 'POST', headers, body })
      .then((response) => response.status)
      .catch(() => 0);
    deliveries.push({ id, event, payload, status });
    return status;
  }

  await as('admin', 'POST', '/hooks', { events: EVENTS, config: { url: `${url}/-/hook`, content_type: 'json' } });

  return {
    url,
    calls,
    deliveries,
    violations,
    deliver,
    pointAt: (to) => void (target = to),
    fault: (line, fault) => void faults.push({ line, fault }),
    changeNext: (change) => void changes.push(change),
    reactions: (on) => reactions.get(/^\d+$/.test(on) ? `issues/${on}` : on) ?? [],
    async comments(number) {
      const all = (await as('admin', 'GET', `/issues/${number}/comments?per_page=100`)) as Json[];
      return all.map(({ id, user, body }) => ({ id, login: user.login, body }));
    },
    async reviewComments(number) {
      const all = (await as('admin', 'GET', `/pulls/${number}/comments?per_page=100`)) as Json[];
      return all.map(({ id, in_reply_to_id, user, body }) => ({ id, root: in_reply_to_id ?? id, login: user.login, body }));
    },
    person: (login) => ({
      issue: async (title, body) => (await as(login, 'POST', '/issues', { title, body })).number,
      comment: async (number, body) => (await as(login, 'POST', `/issues/${number}/comments`, { body })).id,
      edit: async (comment, body) => void (await as(login, 'PATCH', `/issues/comments/${comment}`, { body })),
      remove: async (comment) => void (await as(login, 'DELETE', `/issues/comments/${comment}`)),
      async pull(title, body, file) {
        const branch = `change-${randomUUID().slice(0, 8)}`;
        const main = await as('admin', 'GET', '/git/ref/heads/main');
        await as('admin', 'POST', '/git/refs', { ref: `refs/heads/${branch}`, sha: main.object.sha });
        await as('admin', 'PUT', `/contents/${file}`, { message: title, content: Buffer.from('one\ntwo\n').toString('base64'), branch });
        return (await as(login, 'POST', '/pulls', { title, body, head: branch, base: 'main' })).number;
      },
      review: async (number, body) => (await as(login, 'POST', `/pulls/${number}/reviews`, { body, event: 'COMMENT' })).id,
      async reviewComment(number, body, on) {
        // a reply is about what the comment before it is about
        const { path, line } = 'reply' in on ? await as(login, 'GET', `/pulls/comments/${on.reply}`) : on;
        const about = { path, line, side: 'RIGHT', ...('reply' in on ? { in_reply_to_id: on.reply } : {}) };
        return (await as(login, 'POST', `/pulls/${number}/comments`, { body, ...about })).id;
      },
    }),
    async [Symbol.asyncDispose]() {
      await eventually(() => writing === 0);
      server.closeAllConnections();
      server.close();
      await emulator.close();
    },
  };
}
