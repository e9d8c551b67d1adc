/** Conversations with agents: sending, following, and changing the course of turns. */
import { writeFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { CentaurApiError, type ExecutionView } from '@centaur/sdk';
import { type Api, connect } from '../api.ts';
import { collect, examples, wholeNumber, withJson } from '../arguments.ts';
import { EXIT, HintedError, UsageError } from '../exit.ts';
import { exitCodeOf, followTurn } from '../follow-turn.ts';
import { readParts } from '../message-parts.ts';
import { clock, fields, note, paint, print, printable, printJson, relative, span, table } from '../output.ts';
import { createJsonView, createTurnView, isFinal, partsText, QUIET, turnStatus } from '../turn-view.ts';

const KEY = 'slack:C123:1700000000.000100';
const TURN = '0198c0de-0000-7000-8000-000000000000';
/** Turns that `show` lists. */
const TURNS_SHOWN = 10;

const CTRL_C = `
Ctrl-C leaves the turn to itself after 2 seconds; a second Ctrl-C within them cancels it.`;

export function addThreads(program: Command): void {
  const threads = program.command('threads').description('Talk with agents, and look at what they do.');
  examples(threads, 'centaur threads send notes "What changed today?" --wait', 'centaur threads ls');

  const ls = threads
    .command('ls')
    .description('List threads, those used last first.')
    .option('--limit <number>', 'how many, 1 to 200', wholeNumber(1, 200), 20)
    .option('--after <cursor>', 'go on after this page’s "next"')
    .action(list);
  examples(withJson(ls), 'centaur threads ls', 'centaur threads ls --json | jq -r .items[].thread_key');

  const show = threads
    .command('show')
    .description('Show a thread with its newest turns.')
    .argument('<thread>', 'key of the thread')
    .action(showThread);
  examples(withJson(show), `centaur threads show ${KEY}`);

  const prompt = threads
    .command('prompt')
    .summary('Show what a thread’s next turn would be told.')
    .description(
      'Show what a thread’s next turn would be told besides the harness’s own instructions: part by part, with its size and who says so, and ' +
        'the tools and skills that the agent would be given.',
    )
    .argument('<thread>', 'key of the thread')
    .action(showPrompt);
  examples(withJson(prompt), `centaur threads prompt ${KEY}`, `centaur threads prompt ${KEY} --json | jq -r '.parts[].text'`);

  const send = threads
    .command('send')
    .summary('Send a message and have it answered, and follow the answer with --wait.')
    .description(
      'Send a message, have it answered in a turn, and print the turn’s id. A thread that is not there begins with it. With --wait, ' +
        'what the agent says goes to stdout as it comes, and what it does to stderr; the exit code is 0 when the turn completed, else 1.',
    )
    .argument('<thread>', 'key of the thread; any name for a new one')
    .argument('[text]', 'what to say, or - for stdin; may be left out with --file')
    .option('--file <path>', 'send this image or document too; give it again for more', collect)
    .option('--wait, --follow', 'follow the turn to its end')
    .option('--harness <name>', 'agent that answers (default: that of the thread, the persona or the installation)')
    .option('--persona <id>', 'persona in which it answers')
    .option('--model <name>', 'model that the harness uses for this turn')
    .addOption(new Option('--effort <effort>', 'how much the model may think').choices(EFFORTS))
    .option('--execute-id <id>', 'idempotency key: the same id and message answer with the first turn')
    .action(sendMessage)
    .addHelpText('after', CTRL_C);
  examples(
    withJson(send),
    'centaur threads send notes "What changed today?" --wait',
    'git diff | centaur threads send review - --persona reviewer --wait > review.md',
    'centaur threads send notes "What is in this picture?" --file photo.png --wait --json | jq -r .result_text',
  );

  const tail = threads
    .command('tail')
    .summary('Follow a thread, or one turn of it to its end.')
    .description(
      'Follow a thread until Ctrl-C. What happened before is told first; a lost connection is taken up where it broke off. With ' +
        '--execution, follow one turn to its end: the exit code is 0 when it completed, else 1.',
    )
    .argument('<thread>', 'key of the thread')
    .option('--after <event>', 'id of the last event already seen', wholeNumber(0, Number.MAX_SAFE_INTEGER))
    .option('--execution <id>', 'only this turn, to its end')
    .addOption(new Option('--no-follow', 'end with what has happened so far').conflicts('execution'))
    .option('--json', 'print each event as a line of JSON')
    .action(tailThread)
    .addHelpText('after', `${CTRL_C}\nWithout --execution, Ctrl-C ends the command at once and changes nothing.`);
  examples(tail, `centaur threads tail ${KEY}`, `centaur threads tail ${KEY} --after 120 --json | jq -c .data`);

  const messages = threads
    .command('messages')
    .description('List a thread’s messages, oldest first.')
    .argument('<thread>', 'key of the thread')
    .option('--limit <number>', 'how many, 1 to 200', wholeNumber(1, 200), 50)
    .option('--after <message>', 'go on after this message')
    .action(listMessages);
  examples(withJson(messages), `centaur threads messages ${KEY}`);

  const attachments = threads
    .command('attachments')
    .description('List the files of a thread: those that were sent, and those that its agent made.')
    .argument('<thread>', 'key of the thread')
    .action(listAttachments);
  examples(withJson(attachments), `centaur threads attachments ${KEY}`);

  const download = threads
    .command('download')
    .description('Read a file of a thread.')
    .argument('<attachment>', 'id of the attachment')
    .option('-o, --output <file>', 'write it here (default: stdout)')
    .action(downloadAttachment);
  examples(download, `centaur threads download ${TURN} -o chart.png`);

  const cancel = threads
    .command('cancel')
    .description('End a turn. One that waits ends at once; one that runs is told to.')
    .argument('<turn>', 'id of the turn, or key of a thread for the turn that it is at')
    .action(cancelTurn);
  examples(withJson(cancel), `centaur threads cancel ${TURN}`, `centaur threads cancel ${KEY}`);

  const steer = threads
    .command('steer')
    .description('Say something to a turn that runs.')
    .argument('<turn>', 'id of the turn, or key of a thread for the turn that it is at')
    .argument('[text]', 'what to say, or - for stdin; may be left out with --file')
    .option('--file <path>', 'send this image or document too; give it again for more', collect)
    .option('--message-id <id>', 'idempotency key: the same id and text are said once')
    .action(steerTurn);
  examples(withJson(steer), `centaur threads steer ${KEY} "Only the open ones, please."`);

  const release = threads
    .command('release')
    .summary('End a thread’s assignment.')
    .description('End a thread’s assignment: the next message may go to another harness or persona. Its messages and turns are kept.')
    .argument('<thread>', 'key of the thread')
    .option('--cancel', 'also cancel its turns that wait or run')
    .action(releaseThread);
  examples(withJson(release), `centaur threads release ${KEY}`);
}

const EFFORTS = ['low', 'medium', 'high', 'max'] as const;

interface JsonOption {
  readonly json?: true;
}

async function list(options: JsonOption & { readonly limit: number; readonly after?: string }): Promise<void> {
  const page = await connect().threads.list(pageOf(options));
  if (options.json) return printJson(page);
  if (page.items.length === 0) return note('no threads');
  const rows = page.items.map((thread) => [
    printable(thread.thread_key),
    thread.harness ?? '-',
    thread.active_execution_id === null ? '' : turnStatus('running'),
    thread.pending_messages === 0 ? '' : String(thread.pending_messages),
    relative(thread.last_used_at),
    printable(thread.title ?? '').slice(0, 60),
  ]);
  print(table(['THREAD', 'HARNESS', 'TURN', 'WAITING', 'USED', 'TITLE'], rows));
  noteMore(page);
}

async function showThread(threadKey: string, options: JsonOption): Promise<void> {
  const api = connect();
  const [thread, turns] = await Promise.all([
    api.threads.get(threadKey),
    api.threads.executions(threadKey, { limit: options.json ? 200 : TURNS_SHOWN }),
  ]);
  if (options.json) return printJson({ ...thread, executions: turns.items });
  print(
    fields(paint('bold', shorten(thread.title ?? thread.thread_key)), {
      thread: thread.thread_key,
      harness: thread.harness ?? 'none; the next message assigns it',
      persona: thread.persona_id ?? '',
      assignment: thread.assignment_generation === null ? '' : String(thread.assignment_generation),
      turn: thread.active_execution_id ?? '',
      waiting: thread.pending_messages === 0 ? '' : `${thread.pending_messages} messages that no turn has taken`,
      events: String(thread.last_event_id),
      trace: thread.trace_id,
      created: `${clock(thread.created_at)} (${relative(thread.created_at)})`,
      used: `${clock(thread.last_used_at)} (${relative(thread.last_used_at)})`,
    }),
  );
  if (turns.items.length > 0) print(`\n${turnTable(turns.items)}`);
  if (turns.next !== null) note(paint('dim', 'there are more: --json lists up to 200', process.stderr));
}

async function showPrompt(threadKey: string, options: JsonOption): Promise<void> {
  const prompt = await connect().threads.prompt(threadKey);
  if (options.json) return printJson(prompt);
  const { harness, model, effort, persona, parts, tools, skills, missing } = prompt;
  print(
    fields(paint('bold', printable(threadKey)), {
      harness,
      model: model ?? '',
      effort: effort ?? '',
      persona: persona === null ? '' : `${persona.name} (sha256 ${persona.sha256})`,
      told: prompt.sha256 === null ? 'nothing' : `${bytes(prompt.bytes)} in ${parts.length} parts (sha256 ${prompt.sha256})`,
      tools: tools.join(', '),
      missing: [...missing.tools.map((name) => `tool ${name}`), ...missing.skills.map((name) => `skill ${name}`)].join(', '),
    }),
  );
  if (skills.length > 0)
    print(
      `\n${table(
        ['SKILL', 'SIZE', 'VERSION', 'FROM'],
        skills.map(({ name, bytes: size, version, source }) => [name, bytes(size), version, printable(source)]),
      )}`,
    );
  for (const part of parts) {
    print(`\n${paint('dim', printable(`${part.kind}, from ${part.source}, ${bytes(part.bytes)}`))}`);
    print(printable(part.text));
  }
}

function turnTable(turns: readonly ExecutionView[]): string {
  const rows = turns.map((turn) => [
    turn.execution_id,
    turnStatus(turn.status),
    relative(turn.created_at),
    turn.started_at === null ? '' : span(turn.started_at, turn.completed_at),
    shorten(turn.error_text ?? turn.result_text ?? ''),
  ]);
  return table(['TURN', 'STATUS', 'ASKED', 'TOOK', 'RESULT'], rows);
}

const shorten = (text: string): string => {
  const line = printable(text).replaceAll(/\s+/g, ' ').trim();
  return line.length > 60 ? `${line.slice(0, 59)}…` : line;
};

interface SendOptions extends JsonOption {
  readonly file?: readonly string[];
  readonly follow?: true;
  readonly harness?: string;
  readonly persona?: string;
  readonly model?: string;
  readonly effort?: (typeof EFFORTS)[number];
  readonly executeId?: string;
}

async function sendMessage(threadKey: string, text: string | undefined, options: SendOptions): Promise<void> {
  const { harness, persona, model, effort, executeId, json } = options;
  const parts = await readParts(text, options.file);
  const api = connect();
  const sent = await api.threads.send(threadKey, parts, {
    ...(harness === undefined ? {} : { harness }),
    ...(persona === undefined ? {} : { personaId: persona }),
    ...(model === undefined ? {} : { model }),
    ...(effort === undefined ? {} : { effort }),
    ...(executeId === undefined ? {} : { executeId }),
  });
  const how = `centaur threads tail ${quoted(threadKey)} --execution ${sent.execution_id}`;
  if (!options.follow) {
    if (json) return printJson(sent);
    print(sent.execution_id);
    if (sent.idempotent) note('this was sent before: it is that turn');
    if (process.stderr.isTTY) note(paint('dim', `follow it with: ${how}`, process.stderr));
    return;
  }
  if (!json) note(paint('dim', `turn ${sent.execution_id}`, process.stderr));
  const ended = await followTurn(api, { threadKey, executionId: sent.execution_id }, json ? QUIET : createTurnView());
  if (ended === 'left') {
    process.exitCode = EXIT.interrupted;
    return note(`the turn goes on; follow it with: ${how}`);
  }
  const turn = ended === 'shown' || json ? await api.threads.execution(sent.execution_id) : ended;
  process.exitCode = exitCodeOf(turn.status);
  if (json) printJson(turn);
}

/** For a shell. */
const quoted = (text: string): string => (/^[\w:./@-]+$/.test(text) ? text : `'${printable(text).replaceAll("'", `'\\''`)}'`);

async function tailThread(
  threadKey: string,
  options: JsonOption & { readonly after?: number; readonly execution?: string; readonly follow: boolean },
): Promise<void> {
  const api = connect();
  const { execution, after } = options;
  const thread = await api.threads.get(threadKey);
  if (execution !== undefined) await checkTurn(api, threadKey, execution);
  const place = {
    threadKey,
    ...(execution === undefined ? {} : { executionId: execution }),
    ...(after === undefined ? {} : { after }),
    ...(options.follow ? {} : { until: thread.last_event_id }),
  };
  const ended = await followTurn(api, place, options.json ? createJsonView() : createTurnView());
  if (ended === 'left') process.exitCode = EXIT.interrupted;
  else if (ended !== 'shown') process.exitCode = exitCodeOf(ended.status);
  else if (execution !== undefined) process.exitCode = exitCodeOf((await api.threads.execution(execution)).status);
}

/** @throws HintedError for a turn of another thread: nothing would ever come */
async function checkTurn(api: Api, threadKey: string, executionId: string): Promise<void> {
  const { thread_key } = await api.threads.execution(executionId);
  if (thread_key !== threadKey)
    throw new HintedError(
      `the turn ${executionId} is not of the thread ${threadKey}`,
      `Follow it with: centaur threads tail ${quoted(thread_key)} --execution ${executionId}`,
    );
}

async function listMessages(threadKey: string, options: JsonOption & { readonly limit: number; readonly after?: string }): Promise<void> {
  const api = connect();
  const [page] = await Promise.all([api.threads.messages(threadKey, pageOf(options)), api.threads.get(threadKey)]);
  if (options.json) return printJson(page);
  if (page.items.length === 0) return note('no messages');
  for (const message of page.items) {
    const waits = message.delivered_execution_id === null ? ', no turn has taken it' : '';
    print(paint('dim', printable(`${message.role}${by(message.user_id)}, ${relative(message.created_at)}${waits}`)));
    print(printable(partsText(message.parts)));
  }
  noteMore(page);
}

const by = (userId: string | null): string => (userId === null ? '' : ` ${userId}`);

async function listAttachments(threadKey: string, options: JsonOption): Promise<void> {
  const api = connect();
  const [page] = await Promise.all([api.threads.attachments(threadKey), api.threads.get(threadKey)]);
  if (options.json) return printJson(page);
  if (page.items.length === 0) return note('no attachments');
  const rows = page.items.map(({ id, name, mime_type, size, message_id, created_at }) => [
    id,
    printable(name),
    printable(mime_type),
    bytes(size),
    message_id === null ? 'made' : 'sent',
    relative(created_at),
  ]);
  print(table(['ATTACHMENT', 'NAME', 'TYPE', 'SIZE', '', 'WHEN'], rows));
}

function bytes(size: number): string {
  if (size < 1024) return `${size} B`;
  return size < 1024 * 1024 ? `${(size / 1024).toFixed(1)} KiB` : `${(size / 1024 / 1024).toFixed(1)} MiB`;
}

/** To stdout unless a file is named: its own name was chosen by whoever made it. */
async function downloadAttachment(attachmentId: string, options: { readonly output?: string }): Promise<void> {
  if (options.output === undefined && process.stdout.isTTY)
    throw new UsageError('a file is not for a terminal: give --output, or send stdout elsewhere');
  const data = await connect().threads.readAttachment(attachmentId);
  if (options.output === undefined) {
    process.stdout.write(data);
    return;
  }
  try {
    writeFileSync(options.output, data);
  } catch (error) {
    throw new UsageError(`--output: cannot write ${options.output}: ${(error as Error).message}`, { cause: error });
  }
  note(`wrote ${bytes(data.length)} to ${options.output}`);
}

async function cancelTurn(turn: string, options: JsonOption): Promise<void> {
  const api = connect();
  const told = await api.threads.cancel(await findTurn(api, turn));
  if (options.json) printJson(told);
  else print(told.status === 'cancelled' ? `cancelled ${told.execution_id}` : `${told.execution_id} was told to end`);
}

async function steerTurn(
  turn: string,
  text: string | undefined,
  options: JsonOption & { readonly file?: readonly string[]; readonly messageId?: string },
): Promise<void> {
  const parts = await readParts(text, options.file);
  const api = connect();
  const steered = await api.threads.steer(
    await findTurn(api, turn),
    parts,
    options.messageId === undefined ? {} : { messageId: options.messageId },
  );
  if (options.json) printJson(steered);
  else print(`steered ${steered.execution_id}`);
}

/**
 * The turn of this id; or the one that a thread is at: the one that runs, else the only one that waits.
 *
 * @throws HintedError when the thread is at none, or several wait
 */
async function findTurn(api: Api, turnOrThread: string): Promise<string> {
  if (/^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i.test(turnOrThread)) {
    try {
      return (await api.threads.execution(turnOrThread)).execution_id;
    } catch (error) {
      // a thread's key may look like that too
      if (!(error instanceof CentaurApiError && error.code === 'EXECUTION_NOT_FOUND')) throw error;
      const isThread = await api.threads.get(turnOrThread).then(
        () => true,
        () => false,
      );
      if (!isThread) throw error;
    }
  }
  const { active_execution_id } = await api.threads.get(turnOrThread);
  if (active_execution_id !== null) return active_execution_id;
  const { items } = await api.threads.executions(turnOrThread, { limit: 200 });
  const waiting = items.filter(({ status }) => !isFinal(status));
  const [only] = waiting;
  if (only === undefined)
    throw new HintedError(
      `no turn of the thread ${turnOrThread} runs or waits`,
      `See what it did with: centaur threads show ${quoted(turnOrThread)}`,
    );
  if (waiting.length > 1)
    throw new HintedError(
      `${waiting.length} turns of the thread ${turnOrThread} wait: say which`,
      waiting.map(({ execution_id }) => `  ${execution_id}`).join('\n'),
    );
  return only.execution_id;
}

async function releaseThread(threadKey: string, options: JsonOption & { readonly cancel?: true }): Promise<void> {
  const released = await connect().threads.release(threadKey, options.cancel ? { cancelInflight: true } : {});
  if (options.json) return printJson(released);
  print(released.released ? `released ${printable(released.thread_key)}` : `${printable(released.thread_key)} was not assigned`);
}

function pageOf({ limit, after }: { readonly limit: number; readonly after?: string }) {
  return { limit, ...(after === undefined ? {} : { after }) };
}

function noteMore({ next }: { readonly next: string | null }): void {
  if (next !== null) note(paint('dim', `more: --after ${quoted(next)}`, process.stderr));
}
