/**
 * Sessions: what one caller has open. Each has cookies, pages and a way to the firewall of its own, which no other caller sees. The
 * calls of one caller are made one after the other; a page that does not answer any more is closed, with its session.
 */
import { type ToolContext, ToolFailure } from '@centaur/sdk';
import type { Browser, BrowserContext, Dialog, Page, Response } from 'playwright-core';
import { startChromium } from './chromium.ts';
import { type Door, openDoor, type Refusal } from './door.ts';

export interface Session {
  /** The one page of a session: what would open in a window of its own opens in its place. */
  readonly page: Page;
  /** What the page has said since it was last asked. */
  events(): Events;
}

export interface Events {
  /** Windows of `alert` and the like, which are closed at once. */
  readonly dialogs: readonly string[];
  readonly dialogsInAll: number;
  readonly refused: readonly Refusal[];
  readonly download: string | undefined;
}

interface Open extends Session {
  readonly chromium: Browser;
  readonly context: BrowserContext;
  readonly door: Door;
  last: Promise<unknown>;
  calls: number;
  usedAt: number;
  idle: NodeJS.Timeout | undefined;
  /** Why it ended. */
  ended: string | undefined;
}

interface Running {
  readonly starting: Promise<Browser>;
  /** Once it has started. */
  chromium?: Browser;
}

const SESSIONS_MOST = 4;
/** Of one caller, those that wait among them: the tool takes 16 in all. */
const CALLS_MOST = 4;
/** Windows that a page opens past `STAY` are closed; of one that goes on with it there is no more than this. */
const WINDOWS_MOST = 20;
const IDLE_MS = 10 * 60_000;
/** One that was used so lately is not closed for another caller. */
const KEPT_MS = 60_000;
/** Without any session. */
const WARM_MS = 60_000;
const CLOSE_MS = 5000;
const ANSWER_MS = 3000;
/** For the first page of a Chromium that runs. */
const OPENING_MS = 20_000;
/** What a page may write to its console, workers and errors among it: Playwright keeps it all in this process. */
const SAID_MOST = 16 * 1024 * 1024;
/** A caller that came back after its session ended is told why; so many are remembered. */
const ENDED_MOST = 1000;
const DIALOGS_MOST = 5;

const sessions = new Map<string, Open>();
const endings = new Map<string, string>();
/** Calls that have not come to an end yet, by caller. */
const calls = new Map<string, number>();
/** Where new sessions begin. */
let running: Running | undefined;
/** How many sessions each Chromium has, with those that begin or end. */
const users = new Map<Browser, number>();
let warm: NodeJS.Timeout | undefined;

/**
 * A caller that hangs up is let go at once. What was begun for it goes on to its end, before the caller's next call.
 *
 * @param begin whether a session is begun where there is none
 * @param ms the longest that `work` takes: what takes longer hangs, and ends its session
 * @throws ToolFailure
 */
export async function inSession<T>(
  ctx: ToolContext,
  begin: 'begin' | 'resume',
  ms: number,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const waiting = calls.get(ctx.caller) ?? 0;
  if (waiting >= CALLS_MOST)
    throw new ToolFailure('BUSY', `${CALLS_MOST} of your calls are not done yet, and they are made one after the other. Wait for them.`, {
      retryable: true,
    });
  calls.set(ctx.caller, waiting + 1);
  const done = takeTurn(ctx, begin, ms, work).finally(() => {
    const left = (calls.get(ctx.caller) ?? 1) - 1;
    if (left === 0) calls.delete(ctx.caller);
    else calls.set(ctx.caller, left);
  });
  return unlessGone(ctx, done);
}

/** Ends the caller's session, if there is one or one is being made. */
export function endSession(ctx: ToolContext): Promise<boolean> {
  const ending = async (): Promise<boolean> => {
    const session = sessions.get(ctx.caller) ?? (await opening.get(ctx.caller)?.catch(() => undefined));
    if (session === undefined) return false;
    await end(ctx.caller, session, 'you closed it');
    return true;
  };
  return unlessGone(ctx, ending());
}

/** Whoever does not hear of its end when the call is cancelled has the whole process replaced, with the sessions of all. */
async function unlessGone<T>({ signal }: ToolContext, done: Promise<T>): Promise<T> {
  done.catch(() => undefined);
  signal.throwIfAborted();
  let leave: (() => void) | undefined;
  const gone = new Promise<never>((_, reject) => {
    leave = () => reject(signal.reason as Error);
    signal.addEventListener('abort', leave, { once: true });
  });
  try {
    return await Promise.race([done, gone]);
  } finally {
    signal.removeEventListener('abort', leave as () => void);
  }
}

async function takeTurn<T>(ctx: ToolContext, begin: 'begin' | 'resume', ms: number, work: (session: Session) => Promise<T>): Promise<T> {
  const session = sessions.get(ctx.caller) ?? (begin === 'begin' ? await openSession(ctx.caller) : undefined);
  if (session === undefined) throw noPage(endings.get(ctx.caller));
  clearTimeout(session.idle);
  session.calls += 1;
  const turn = session.last.then(() => {
    ctx.signal.throwIfAborted();
    if (session.ended !== undefined) throw noPage(session.ended);
    return unlessHung(ctx.caller, session, ms, work);
  });
  session.last = turn.catch(() => undefined);
  try {
    return await turn;
  } finally {
    session.calls -= 1;
    session.usedAt = Date.now();
    if (session.calls === 0 && session.ended === undefined)
      session.idle = setTimeout(() => void end(ctx.caller, session, 'it had not been used for 10 minutes'), IDLE_MS).unref();
  }
}

async function unlessHung<T>(caller: string, session: Open, ms: number, work: (session: Session) => Promise<T>): Promise<T> {
  const giveUp = (): ToolFailure => {
    void end(caller, session, 'its page did not answer any more');
    return new ToolFailure('PAGE_HUNG', 'The page does not answer any more. It was closed, with its session: open one again.');
  };
  try {
    return await within(ms, work(session), giveUp);
  } catch (error) {
    // it is told of why when all have heard of it
    await new Promise(setImmediate);
    if (error instanceof ToolFailure && error.code === 'TIMEOUT' && !(await answers(session.page))) throw giveUp();
    if (error instanceof ToolFailure || session.ended === undefined) throw error;
    throw noPage(session.ended, error);
  }
}

/** @param late makes the error for what takes longer, whose own end is nobody's any more */
async function within<T>(ms: number, doing: Promise<T>, late: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), ms);
  });
  doing.catch(() => undefined);
  try {
    return await Promise.race([doing, limit]);
  } finally {
    clearTimeout(timer);
  }
}

/** Whether its scripts come to an end. */
async function answers(page: Page): Promise<boolean> {
  const answer = page.evaluate('1').then(
    () => true,
    () => true,
  );
  return Promise.race([answer, new Promise<boolean>((resolve) => setTimeout(() => resolve(false), ANSWER_MS).unref())]);
}

function noPage(ended: string | undefined, cause?: unknown): ToolFailure {
  const what = ended === undefined ? 'No page is open.' : `The session has ended: ${ended}. Its cookies are gone, too.`;
  return new ToolFailure('NO_PAGE', `${what} Open a page first.`, { cause });
}

/** Callers whose sessions are being made: so that two calls at once make one. */
const opening = new Map<string, Promise<Open>>();

function openSession(caller: string): Promise<Open> {
  let begun = opening.get(caller);
  if (begun === undefined) {
    begun = Promise.resolve()
      .then(() => makeSession(caller))
      .finally(() => opening.delete(caller));
    opening.set(caller, begun);
  }
  return begun;
}

async function makeSession(caller: string): Promise<Open> {
  const way = wayOut();
  await makeRoom(caller);
  const chromium = await runningChromium();
  users.set(chromium, (users.get(chromium) ?? 0) + 1);
  let door: Door | undefined;
  let opening: Promise<Page> | undefined;
  try {
    door = await openDoor(way);
    opening = openPage(chromium, door);
    const page = await within(OPENING_MS, opening, () => new Error('it did not open a page in time'));
    const session = watch(caller, chromium, page, door);
    sessions.set(caller, session);
    endings.delete(caller);
    return session;
  } catch (error) {
    door?.close();
    // it may come yet
    opening?.then((page) => page.context().close()).catch(() => undefined);
    // others go on with this one as long as they can
    if (opening !== undefined) retire(chromium);
    leave(chromium);
    throw new ToolFailure('BROWSER_CRASHED', `Chromium began no session: ${(error as Error).message.split('\n')[0]}`, {
      cause: error,
      retryable: true,
    });
  }
}

async function openPage(chromium: Browser, door: Door): Promise<Page> {
  const context = await chromium.newContext({
    proxy: { server: door.server, bypass: '<-loopback>' },
    viewport: { width: 1280, height: 800 },
    acceptDownloads: false,
    serviceWorkers: 'block',
    permissions: [],
    locale: 'en-US',
  });
  try {
    await context.addInitScript(STAY);
    await context.addInitScript(QUIET);
    return await context.newPage();
  } catch (error) {
    void context.close().catch(() => undefined);
    throw error;
  }
}

/** Runs in each document: an agent has one page to look at, and windows without end would take all memory. */
const STAY = `
  window.open = (url) => { if (url !== undefined && url !== '') location.assign(url); return window; };
  addEventListener('click', (event) => {
    const link = event.composedPath().find((each) => each.localName === 'a' || each.localName === 'area');
    if (link && link.target && link.target !== '_self') link.target = '_top';
    // to files, or into the browser: it would not go there, and wait for what never comes
    if (link && link.protocol && !/^(https?|javascript|about|blob|data):$/.test(link.protocol)) event.preventDefault();
  }, true);
  addEventListener('submit', (event) => { if (event.target.getAttribute('target')) event.target.setAttribute('target', '_self'); }, true);
`;

/**
 * What a page writes to its console, and errors that it does not handle, would come over to this process: they stay where they are. All
 * callers have one clipboard, so nothing is pasted either, however it was set off.
 */
const QUIET = `
  for (const name of Object.keys(console)) if (typeof console[name] === 'function') console[name] = () => {};
  for (const type of ['error', 'unhandledrejection']) addEventListener(type, (event) => { event.preventDefault(); });
  addEventListener('paste', (event) => { event.preventDefault(); event.stopImmediatePropagation(); }, true);
`;

/** Everything that a page does by itself is answered here, so that nobody waits for a person. */
function watch(caller: string, chromium: Browser, page: Page, door: Door): Open {
  const context = page.context();
  let saidInAll = 0;
  const refused = new Map<string, Refusal>();
  let dialogs: string[] = [];
  let dialogsInAll = 0;
  let download: string | undefined;
  let windows = 0;
  const session: Open = {
    chromium,
    context,
    door,
    page,
    last: Promise.resolve(),
    calls: 0,
    usedAt: Date.now(),
    idle: undefined,
    ended: undefined,
    events() {
      for (const each of door.refused()) refused.set(each.host, each);
      const said = { dialogs, dialogsInAll, refused: [...refused.values()], download };
      [dialogs, dialogsInAll, download] = [[], 0, undefined];
      refused.clear();
      return said;
    },
  };
  context.on('page', (other) => {
    windows += 1;
    void other.close().catch(() => undefined);
    if (windows > WINDOWS_MOST) void end(caller, session, 'its page opened windows without end');
  });
  // when all of Chromium ends, its pages do so a moment before
  page.on('close', () =>
    setImmediate(() => {
      void end(caller, session, chromium.isConnected() ? 'its page closed itself' : 'Chromium has ended');
    }),
  );
  page.on('crash', () => void end(caller, session, 'its page crashed: it may have needed more memory than there is'));
  page.on('download', (each) => {
    download = each.suggestedFilename().slice(0, 200);
  });
  const hear = (text: string): void => {
    saidInAll += text.length;
    if (saidInAll > SAID_MOST) void end(caller, session, 'its page wrote messages without end');
  };
  context.on('console', (message) => hear(message.text()));
  context.on('weberror', (each) => hear(each.error().stack ?? each.error().message));
  context.on('dialog', (dialog: Dialog) => {
    dialogsInAll += 1;
    if (dialogs.length < DIALOGS_MOST) dialogs.push(`${dialog.type()}: ${dialog.message().slice(0, 300)}`);
    // a page that asks whether it may be left is left
    void (dialog.type() === 'beforeunload' ? dialog.accept() : dialog.dismiss()).catch(() => undefined);
  });
  context.on('response', (response: Response) => {
    const code = response.headers()['x-centaur-refused'];
    if (code === undefined || refused.size >= 50) return;
    const { host } = new URL(response.url());
    refused.set(host, { host, code, message: '' });
  });
  context.on('close', () => void end(caller, session, 'Chromium has ended'));
  return session;
}

async function end(caller: string, session: Open, reason: string): Promise<void> {
  if (session.ended !== undefined) return;
  session.ended = reason;
  clearTimeout(session.idle);
  if (sessions.get(caller) === session) sessions.delete(caller);
  endings.delete(caller);
  endings.set(caller, reason);
  if (endings.size > ENDED_MOST) endings.delete(endings.keys().next().value as string);
  session.door.close();
  const closed = session.context.close().catch(() => undefined);
  // whoever else has a page there goes on with it
  await within(CLOSE_MS, closed, () => new Error('late')).catch(() => retire(session.chromium));
  leave(session.chromium);
}

/** The longest unused session goes for a new one, unless it was used just now. */
async function makeRoom(caller: string): Promise<void> {
  const callers = [...opening.keys()];
  // of those that come at the same time, the ones before this one have their room
  const before = callers.slice(0, callers.indexOf(caller)).filter((each) => !sessions.has(each));
  if (sessions.size + before.length < SESSIONS_MOST) return;
  const [oldest] = [...sessions].filter(([, { calls }]) => calls === 0).toSorted(([, a], [, b]) => a.usedAt - b.usedAt);
  if (oldest === undefined || Date.now() - oldest[1].usedAt < KEPT_MS)
    throw new ToolFailure('BUSY', `${SESSIONS_MOST} others use the browser now, which is all it can hold. Try again in a minute.`, {
      retryable: true,
    });
  await end(...oldest, 'another caller needed the room');
}

function runningChromium(): Promise<Browser> {
  clearTimeout(warm);
  if (running !== undefined) return running.starting;
  const starting = startChromium();
  const mine: Running = { starting };
  running = mine;
  const forget = (): void => {
    if (running === mine) running = undefined;
  };
  starting.then((chromium) => {
    mine.chromium = chromium;
    chromium.on('disconnected', forget);
  }, forget);
  return starting;
}

/** No session begins there any more. */
function retire(chromium: Browser): void {
  if (running?.chromium === chromium) running = undefined;
}

/** One session less: the last one's Chromium ends, at once or after a while. */
function leave(chromium: Browser): void {
  const left = (users.get(chromium) ?? 1) - 1;
  if (left > 0) return void users.set(chromium, left);
  users.delete(chromium);
  const close = (): void => {
    if (users.has(chromium)) return;
    retire(chromium);
    void chromium.close().catch(() => undefined);
  };
  if (running?.chromium !== chromium) return close();
  clearTimeout(warm);
  warm = setTimeout(close, WARM_MS).unref();
}

/** @throws ToolFailure where there is no firewall: then pages would have this machine's network */
function wayOut(): URL {
  const proxy = process.env['HTTPS_PROXY'];
  if (proxy !== undefined && URL.canParse(proxy)) {
    const way = new URL(proxy);
    // any other proxy is somebody else's
    if (way.protocol === 'http:' && way.username === 'lease') return way;
  }
  throw new ToolFailure(
    'NO_FIREWALL',
    'This tool opens pages through the firewall only, and its process has no way to one: the server has to run tools in sandboxes.',
  );
}
