/**
 * A Slack for tests: one workspace with one app in it, strict about limits, that says what people did and shows what they see.
 * It promises to refuse whatever the real one is known to refuse, and what we do not know of it (README.md lists that).
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createAssistant } from './assistant.ts';
import { createDelivery, createHttpTransport, type Delivery, type Endpoints, signature } from './delivery.ts';
import { type ApiCall, identityMethods, createDoor } from './door.ts';
import { type EmulatedSlack, mountEmulate } from './emulate.ts';
import { createEvents, SUBSCRIPTIONS } from './events.ts';
import { createFaults, type Faults } from './faults.ts';
import { createInteractions } from './interactions.ts';
import { messageMethods } from './messages.ts';
import { SCOPES } from './methods.ts';
import { channelNamed, createOtherBot, createPerson, type OtherBot, type Person } from './people.ts';
import { createRateLimits, type Enforcement, type Violation } from './rate-limits.ts';
import { createResponseUrls } from './response-urls.ts';
import { createSeen, type Seen } from './seen.ts';
import { createSocketMode, type SocketMode } from './socket-mode.ts';
import { streamMethods } from './streams.ts';
import { createViews } from './views.ts';
import {
  addChannel,
  addUser,
  APP,
  type Channel,
  type Clock,
  createWorld,
  findMessage,
  idOf,
  type Json,
  type Message,
  TEAM,
} from './world.ts';

export type { ApiCall } from './door.ts';
export type { Clock } from './world.ts';

export interface SlackOptions {
  /** What decides when streams die, triggers expire and limits have room again; deliveries keep the real time. */
  readonly clock?: Clock;
  readonly people?: readonly string[];
  /** With everybody and the app in them. */
  readonly channels?: readonly string[];
  readonly scopes?: readonly string[];
  /** Events that the app has subscribed to. */
  readonly subscriptions?: readonly string[];
  readonly commands?: readonly string[];
  readonly rateLimits?: Enforcement;
  /** How events reach the app. */
  readonly delivery?: 'http' | 'socket';
  /** How long an acknowledgement may take, and when an event comes again. */
  readonly ackMs?: number;
  readonly retryMs?: readonly number[];
}

export interface Slack extends AsyncDisposable {
  /** Of the Web API, as `slackApiUrl` of Slack's SDK. */
  readonly apiUrl: string;
  readonly signingSecret: string;
  readonly botToken: string;
  /** For Socket Mode. */
  readonly appToken: string;
  readonly team: { readonly id: string };
  readonly app: typeof APP;
  /** Where the app takes requests; to be set once it runs. */
  readonly endpoints: Endpoints;
  /** Sets all three. */
  pointAt(url: string): void;
  /** Verifies the URL of events as Slack's settings page does. @returns what is wrong, if anything */
  verifyUrl(): Promise<string | undefined>;
  person(name: string): Person;
  /** @param options team: of another organisation, by Slack Connect */
  addPerson(name: string, options?: { readonly team?: string; readonly channels?: readonly string[] }): Person;
  addBot(name: string): OtherBot;
  /** The channel's id. */
  channel(name: string): string;
  addChannel(
    name: string,
    options?: { readonly isPrivate?: boolean; readonly isShared?: boolean; readonly members?: readonly string[] },
  ): string;
  archive(channel: string): void;
  /** A link in the message unfolds: it changes, and nobody edited it. */
  unfurl(channel: string, ts: string): void;
  readonly see: Seen;
  readonly delivery: Delivery;
  readonly socketMode: Pick<SocketMode, 'connections' | 'disconnect'>;
  readonly faults: Faults;
  /** Events that a method causes arrive before its answer. */
  eventsFirst(...methods: readonly string[]): void;
  readonly calls: readonly ApiCall[];
  readonly violations: readonly Violation[];
  rateLimits: Enforcement;
  /** What the token may; it can change while the app runs. */
  grant(scopes: readonly string[]): void;
  /** The app is taken out of the workspace. */
  uninstall(): void;
  /** Headers for a body of one's own, as Slack would sign it. @param timestamp in seconds */
  sign(body: string, timestamp?: number): Record<string, string>;
}

const REAL: Clock = { now: () => Date.now() };

export async function startSlack(options: SlackOptions = {}): Promise<Slack> {
  const { clock = REAL, people = ['ada', 'grace'], channels = ['general'], scopes = SCOPES } = options;
  const { ackMs = 3000, retryMs = [0, 60_000, 300_000], delivery: way = 'http' } = options;
  const world = createWorld(clock);
  const secrets = { signing: randomBytes(16).toString('hex'), bot: `xoxb-test-${random()}`, app: `xapp-1-test-${random()}` };
  const endpoints: Endpoints = { events: '', interactivity: '', commands: '' };
  const calls: ApiCall[] = [];
  const eventsFirst = new Set<string>();
  const state: { enforcement: Enforcement; isRevoked: boolean; url: string } = {
    enforcement: options.rateLimits ?? 'enforced',
    isRevoked: false,
    url: '',
  };

  addUser(world, APP.name, { isBot: true });
  const everybody = people.map((name) => addUser(world, name).user_id);
  for (const name of channels) addChannel(world, { name, members: [...everybody, APP.userId] });
  const common = { team_id: TEAM.id, user_id: APP.userId, app_id: APP.appId };
  const botToken = world.tokens.insert({ ...common, token: secrets.bot, token_type: 'bot', bot_id: APP.botId, scopes });
  world.tokens.insert({ ...common, token: secrets.app, token_type: 'app', scopes: ['connections:write'] });

  const sockets = createSocketMode(() => state.url);
  const http = createHttpTransport(endpoints, secrets.signing);
  const delivery = createDelivery({ clock, transport: () => (way === 'socket' ? sockets.transport : http), ackMs, retryMs });
  const events = createEvents(world, delivery, options.subscriptions ?? SUBSCRIPTIONS);
  const views = createViews(world);
  const assistant = createAssistant(world, events);
  const responseUrls = createResponseUrls(world, events);
  const limits = createRateLimits(clock, () => state.enforcement);
  const faults = createFaults();

  // one call at a time may set up emulate: the server listens before, as its address is part of what emulate answers
  let emulated: EmulatedSlack | undefined;
  let door: ReturnType<typeof createDoor> | undefined;
  const server = createServer((request, response) => {
    door?.(request, response).catch((error: Error) => {
      response.destroy(error);
    });
  }).listen(0, '127.0.0.1');
  server.on('upgrade', (request, socket, head) => sockets.upgrade(request, socket, head));
  await once(server, 'listening');
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  world.tables.setData('url', state.url);
  emulated = await mountEmulate(world.tables, state.url, dispatched);
  const interactions = createInteractions({
    world,
    url: state.url,
    delivery,
    views,
    responseUrls,
    commands: options.commands ?? ['/centaur'],
  });
  door = createDoor({
    world,
    url: state.url,
    methods: {
      ...identityMethods(world),
      ...messageMethods(world, events),
      ...streamMethods(world, events),
      ...assistant.methods,
      ...views.methods,
      ...sockets.methods,
    },
    emulate: () => emulated,
    limits,
    faults,
    delivery,
    responseUrls,
    eventsFirst,
    isRevoked: () => state.isRevoked,
    calls,
  });

  const personOf = (name: string): Person => {
    const user = world.users.findOneBy('name', name);
    if (user === undefined) throw new Error(`The test's Slack has no ${name}.`);
    return createPerson(world, events, interactions, user);
  };
  const invite = (member: string, names: readonly string[]) => {
    for (const name of names) {
      const channel = channelNamed(world, name);
      world.channels.update(channel.id, { members: [...channel.members, member] });
    }
  };

  return {
    apiUrl: `${state.url}/api/`,
    signingSecret: secrets.signing,
    botToken: secrets.bot,
    appToken: secrets.app,
    team: { id: TEAM.id },
    app: APP,
    endpoints,
    pointAt: (url) => void Object.assign(endpoints, { events: url, interactivity: url, commands: url }),
    verifyUrl: () => verifyUrl(endpoints.events, secrets.signing, ackMs),
    person: personOf,
    addPerson(name, { team = TEAM.id, channels: into = channels } = {}) {
      invite(addUser(world, name, { team }).user_id, into);
      return personOf(name);
    },
    addBot(name) {
      const user = addUser(world, name, { isBot: true });
      const botId = idOf('B', name);
      world.tables
        .collection('slack.bots')
        .insert({ bot_id: botId, app_id: idOf('A', name), user_id: user.user_id, name, deleted: false, icons: {} });
      invite(user.user_id, channels);
      return createOtherBot(world, events, user, botId);
    },
    channel: (name) => channelNamed(world, name).channel_id,
    addChannel(name, { isPrivate = false, isShared = false, members } = {}) {
      const ids = members?.map((one) => (one === APP.name ? APP.userId : personOf(one).id)) ?? [...everybody, APP.userId];
      return addChannel(world, { name, members: ids, isPrivate, isShared }).channel_id;
    },
    archive: (name) => void world.channels.update(channelNamed(world, name).id, { is_archived: true }),
    unfurl(name, ts) {
      const before = findMessage(world, channelNamed(world, name).channel_id, ts);
      if (before === undefined) throw new Error(`There is no ${ts}.`);
      const attachments = [{ from_url: 'https://example.com/', title: 'Example', id: 1 }];
      events.changed(world.messages.update(before.id, { attachments }) as Message, before);
    },
    see: createSeen(world, views, assistant),
    delivery,
    socketMode: sockets,
    faults,
    eventsFirst: (...methods) => {
      for (const method of methods) eventsFirst.add(method);
    },
    calls,
    violations: limits.violations,
    get rateLimits() {
      return state.enforcement;
    },
    set rateLimits(enforcement) {
      state.enforcement = enforcement;
    },
    grant: (granted) => void world.tokens.update(botToken.id, { scopes: granted }),
    uninstall() {
      state.isRevoked = true;
      events.emit({ type: 'tokens_revoked', tokens: { oauth: [], bot: [APP.userId] }, event_ts: world.nextTs() });
      events.emit({ type: 'app_uninstalled', event_ts: world.nextTs() });
    },
    sign: (body, timestamp) => signature(secrets.signing, body, timestamp),
    async [Symbol.asyncDispose]() {
      delivery.close();
      sockets.close();
      await delivery.settled();
      server.closeAllConnections();
      server.close();
      await emulated?.close();
    },
  };

  /** Events that emulate causes, completed with what it does not send. */
  function dispatched(event: Json): void {
    const id = channelIn(event);
    const channel = id === undefined ? undefined : (world.channels.findOneBy('channel_id', id) as Channel | undefined);
    const message = event.type === 'message' && id !== undefined ? findMessage(world, id, String(event.ts)) : undefined;
    if (message !== undefined) events.posted(message, 'message only');
    else events.emit({ event_ts: world.nextTs(), ...event }, channel);
  }
}

function channelIn(event: Json): string | undefined {
  const { channel, channel_id: id, item } = event as { channel?: unknown; channel_id?: unknown; item?: { channel?: unknown } };
  const found = typeof channel === 'object' && channel !== null ? (channel as { id?: unknown }).id : (channel ?? id ?? item?.channel);
  return typeof found === 'string' ? found : undefined;
}

async function verifyUrl(url: string, secret: string, ackMs: number): Promise<string | undefined> {
  const challenge = random();
  const body = JSON.stringify({ token: 'deprecated', challenge, type: 'url_verification' });
  try {
    const response = await fetch(url, {
      method: 'POST',
      redirect: 'manual',
      signal: AbortSignal.timeout(ackMs),
      headers: { 'content-type': 'application/json', ...signature(secret, body) },
      body,
    });
    const answer = await response.text();
    if (!response.ok) return `The URL answered ${response.status}.`;
    return answer.includes(challenge) ? undefined : "The answer does not have the challenge parameter's value.";
  } catch (error) {
    return `The URL did not answer: ${(error as Error).message}.`;
  }
}

function random(): string {
  return randomBytes(18).toString('hex');
}
