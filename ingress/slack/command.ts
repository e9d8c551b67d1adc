/** `/centaur …`: workflows, and who one is here. Answers are seen by whoever asked, and by nobody else. */
import { setTimeout as pause } from 'node:timers/promises';
import { CentaurApiError, type ThreadView } from '@centaur/sdk';
import { helpText, statusOf, stopTurn } from './act/index.ts';
import { confirmText, connectText } from './connect.ts';
import { PLATFORM, placeOfKey, type SlackContext, threadKeyOf, userIdOf } from './context.ts';
import type { Heard, Raw } from './heard.ts';
import { textOf } from './receive/classify.ts';
import { escapeSlack, unescapeSlack } from './render/text.ts';
import { rulesOf, type SlackRules } from './settings.ts';

interface Command {
  readonly name: string;
  readonly rest: string;
  readonly channel: string;
  readonly user: string;
  readonly userName: string | undefined;
  readonly team: string;
  readonly triggerId: string;
  readonly responseUrl: string;
}

const RUNS_SHOWN = 10;
const NAMES_SHOWN = 50;
/** Threads used last, among which those that run are looked for. */
const THREADS_READ = 200;
const ANSWER_MS = 10_000;
const ANSWER_TRIES = 3;
const ANSWER_PAUSE_MS = 250;

/** @throws what may pass, so that it is tried again */
export async function actOnCommand(context: SlackContext, { command: raw }: Extract<Heard, { kind: 'command' }>): Promise<void> {
  const command = readCommand(raw);
  if (command === undefined) return context.log({ level: 'warn', message: 'a command that cannot be answered' });
  const text = whyNot(context.settings.rules, command) ?? (await answerTo(context, command));
  await answerPrivately(context, command.responseUrl, text);
}

export function readCommand(raw: Raw): Command | undefined {
  const said = unescapeSlack(textOf(raw['text'])?.trim() ?? '');
  const [, name = '', rest = ''] = /^(\S*)\s*([^]*)$/.exec(said) ?? [];
  const [channel, user, team] = [textOf(raw['channel_id']), textOf(raw['user_id']), textOf(raw['team_id'])];
  const [triggerId, responseUrl] = [textOf(raw['trigger_id']), textOf(raw['response_url'])];
  if (channel === undefined || user === undefined || team === undefined || triggerId === undefined || responseUrl === undefined)
    return undefined;
  return { name: name.toLowerCase(), rest: rest.trim(), channel, user, team, triggerId, responseUrl, userName: textOf(raw['user_name']) };
}

/** The same people and channels as of messages. */
export function whyNot(rules: SlackRules, { channel, user }: Pick<Command, 'channel' | 'user'>): string | undefined {
  if (rulesOf(rules, channel) === undefined) return 'I am not used in this channel.';
  if (rules.people !== undefined && !rules.people.includes(user)) return 'You are not among the people who may ask me.';
  return undefined;
}

async function answerTo(context: SlackContext, command: Command): Promise<string> {
  const act = Object.hasOwn(COMMANDS, command.name || 'help') ? COMMANDS[command.name || 'help'] : undefined;
  if (act === undefined) return `There is no \`/centaur ${plain(command.name)}\`. ${LIST}`;
  try {
    return await act(context, command);
  } catch (error) {
    // whoever waits is told what the platform said; what may pass by itself is tried again
    if (!(error instanceof CentaurApiError) || error.status === 0 || error.status >= 500) throw error;
    return `That did not work: ${plain(error.message)} (\`${error.code}\`)`;
  }
}

const LIST = `\`/centaur\` knows:
• \`workflows\`: which there are
• \`run <name> [json]\`: starts one
• \`runs\`: the last ones
• \`status [link to a thread]\`: what runs in this channel
• \`stop [link to a thread]\`: ends it
• \`link <code>\`: says who you are; \`centaur users link slack\` on your machine shows the code
• \`whoami\`
• \`connect <service>\`: how an account of your own is connected`;

const COMMANDS: Readonly<Record<string, (context: SlackContext, command: Command) => Promise<string>>> = {
  help: async (context) => `${helpText(context)}\n\n${LIST}`,
  workflows,
  run,
  runs,
  status,
  stop,
  link,
  whoami,
  connect,
};

async function workflows(context: SlackContext, command: Command): Promise<string> {
  const refused = await whyNotReader(context, command);
  if (refused !== undefined) return refused;
  const { items } = await context.api.listWorkflows();
  if (items.length === 0) return 'There are no workflows.';
  const more = items.length > NAMES_SHOWN ? `\n… and ${items.length - NAMES_SHOWN} more` : '';
  return `${items
    .slice(0, NAMES_SHOWN)
    .map(({ name }) => `• \`${plain(name)}\``)
    .join('\n')}${more}`;
}

/** Default deny: whoever is linked to nobody, or to somebody who may not start runs, starts none. */
async function run(context: SlackContext, command: Command): Promise<string> {
  const { principal, role } = await who(context, command);
  if (role !== 'operator' && role !== 'admin') return whyNotRole(role, 'start runs', 'an operator or an admin');
  const [, name = '', given = ''] = /^(\S+)\s*([^]*)$/.exec(command.rest) ?? [];
  if (name === '') return 'Which one? `/centaur run <name> [json]`; `/centaur workflows` lists them.';
  const input = given === '' ? { is: 'given' as const, value: undefined } : readInput(given);
  if (input.is === 'wrong')
    return `The input is not JSON: ${plain(input.why)}. Write it as \`/centaur run ${plain(name)} {"key": "value"}\`.`;
  // a command that is acted on twice starts one run
  const started = await context.api.startRun(name, input.value, {
    triggerKey: `slack:${command.triggerId}`,
    askedBy: userIdOf(command.team, command.user),
  });
  context.log({ level: 'info', message: 'a run was started by a command', run_id: started.run_id, principal });
  return `Started \`${plain(name)}\`: run \`${started.run_id}\``;
}

async function runs(context: SlackContext, command: Command): Promise<string> {
  const refused = await whyNotReader(context, command);
  if (refused !== undefined) return refused;
  const { items } = await context.api.listRuns({ limit: RUNS_SHOWN });
  if (items.length === 0) return 'There are no runs.';
  return items
    .map(({ run_id: id, workflow_name: name, status, created_at: at }) => {
      const seconds = Math.floor(Date.parse(at) / 1000);
      return `• \`${plain(name)}\` ${status} · <!date^${seconds}^{date_short_pretty} {time}|${at}> · \`${id}\``;
    })
    .join('\n');
}

async function status(context: SlackContext, command: Command): Promise<string> {
  const named = readThread(command);
  if (named === 'elsewhere') return ELSEWHERE;
  if (named !== undefined) return statusOf(context, threadKeyOf(command.channel, named));
  const running = await runningIn(context, command.channel);
  return running.length === 0 ? 'Nothing runs in this channel.' : `In this channel:\n${listed(running, command)}`;
}

async function stop(context: SlackContext, command: Command): Promise<string> {
  const named = readThread(command);
  if (named === 'elsewhere') return ELSEWHERE;
  const running = named === undefined ? await runningIn(context, command.channel) : [];
  if (named === undefined && running.length === 0) return 'Nothing runs in this channel.';
  if (running.length > 1) return `Which one? \`/centaur stop <link>\`:\n${listed(running, command)}`;
  const threadTs = named ?? placeOfKey((running[0] as ThreadView).thread_key)?.threadTs ?? '';
  const done = await stopTurn(context, { channel: command.channel, threadTs, user: command.user });
  return { stopped: 'It was told to stop.', nothing: 'Nothing runs there.', refused: 'You may not stop that.' }[done];
}

async function link({ api }: SlackContext, { rest, team, user, userName }: Command): Promise<string> {
  if (!/^[\w-]{4,40}$/.test(rest))
    return 'Which code? `centaur users link slack` on your machine shows one; then `/centaur link ABCD-EFGH`.';
  const identity = { platform: PLATFORM, team, externalUser: user } as const;
  const linked = await api.chats.link({ ...identity, code: rest, ...(userName === undefined ? {} : { displayName: userName }) });
  return linked.user === null ? confirmText(identity) : `You are *${plain(linked.user)}* here.`;
}

async function whoami(context: SlackContext, command: Command): Promise<string> {
  const { principal, user, role } = await who(context, command);
  return user === null
    ? `You are \`${plain(principal)}\`, and linked to nobody. ${HOW_TO_LINK}`
    : `You are *${plain(user)}* (${role ?? 'without a role'}), as \`${plain(principal)}\`.`;
}

async function connect(context: SlackContext, command: Command): Promise<string> {
  return connectText(command.rest, (await who(context, command)).user);
}

const HOW_TO_LINK = '`centaur users link slack` on your machine shows a code; then `/centaur link <code>`.';
const ELSEWHERE = 'That is no link to a thread of this channel: copy the link of one of its messages, and use it here.';

const who = ({ api }: SlackContext, { team, user }: Command) => api.chats.identify({ platform: PLATFORM, team, externalUser: user });

async function whyNotReader(context: SlackContext, command: Command): Promise<string | undefined> {
  const { role } = await who(context, command);
  return role === null ? whyNotRole(role, 'see this', 'somebody') : undefined;
}

const whyNotRole = (role: string | null, what: string, whom: string): string =>
  role === null
    ? `To ${what} you have to be linked to ${whom} of the platform. ${HOW_TO_LINK}`
    : `To ${what} you have to be ${whom}; you are ${role}.`;

function readInput(text: string): { readonly is: 'given'; readonly value: unknown } | { readonly is: 'wrong'; readonly why: string } {
  for (const each of [text, text.replace(/[“”]/g, '"').replace(/[‘’]/g, "'")]) {
    try {
      return { is: 'given', value: JSON.parse(each) };
    } catch {
      // as typed, or as a client made the quotes of it
    }
  }
  return { is: 'wrong', why: text.length > 60 ? `${text.slice(0, 60)}…` : text };
}

/** The thread that a link names. Of this channel alone: of others, who asks may not be in them. */
function readThread({ rest, channel }: Command): string | 'elsewhere' | undefined {
  if (rest === '') return undefined;
  const url = URL.parse(rest.replace(/^<([^|>]*).*$/, '$1'));
  const [, of, digits = ''] = /^\/archives\/([A-Z0-9]+)\/p(\d{11,20})$/.exec(url?.pathname ?? '') ?? [];
  if (url === null || of !== channel) return 'elsewhere';
  const parent = url.searchParams.get('thread_ts') ?? '';
  return /^\d+\.\d+$/.test(parent) ? parent : `${digits.slice(0, -6)}.${digits.slice(-6)}`;
}

async function runningIn({ api }: SlackContext, channel: string): Promise<readonly ThreadView[]> {
  const { items } = await api.threads.list({ limit: THREADS_READ });
  return items.filter((each) => each.active_execution_id !== null && placeOfKey(each.thread_key)?.channel === channel);
}

const listed = (threads: readonly ThreadView[], { team }: Command): string =>
  threads
    .map(({ thread_key: key, title }) => {
      const { channel = '', threadTs = '' } = placeOfKey(key) ?? {};
      return `• <https://app.slack.com/client/${team}/${channel}/thread/${channel}-${threadTs}|${plain((title ?? 'a thread').slice(0, 80))}>`;
    })
    .join('\n');

/**
 * Where Slack says that it is answered, and nowhere else: whoever signed the command is believed, but a mistake of theirs is not followed.
 * It never throws: what was commanded is done, and must not be done again because its answer does not arrive.
 */
async function answerPrivately({ settings, log }: SlackContext, responseUrl: string, text: string): Promise<void> {
  const url = URL.parse(responseUrl);
  if (url === null || (url.origin !== 'https://hooks.slack.com' && url.origin !== new URL(settings.slackApiUrl).origin))
    return log({ level: 'warn', message: 'a response_url leads elsewhere than to Slack', host: url?.host });
  let problem: string | undefined;
  for (let tries = 0; tries < ANSWER_TRIES; tries++) {
    if (tries > 0) await pause(ANSWER_PAUSE_MS * tries);
    problem = await post(url, { response_type: 'ephemeral', replace_original: false, text });
    if (problem === undefined) return;
  }
  log({ level: 'warn', message: 'the answer to a command could not be given', problem });
}

/** Undefined: it is there, or nobody waits for it any more. */
async function post(url: URL, body: object): Promise<string | undefined> {
  try {
    const response = await fetch(url, {
      method: 'POST',
      redirect: 'error',
      signal: AbortSignal.timeout(ANSWER_MS),
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    await response.body?.cancel();
    // used up or expired
    return response.ok || response.status === 404 ? undefined : `refused with ${response.status}`;
  } catch (error) {
    return (error as Error).name;
  }
}

/** Texts of others as text: nothing in them calls anybody or leads anywhere. */
const plain = (text: string): string => escapeSlack(text).replaceAll('`', 'ˋ');
