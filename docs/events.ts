/**
 * `reference/events.md`: the fields come from the source text of the types, since TypeScript has no API to read them with;
 * what an event means is said here. An event without a meaning, a meaning without an event, and a kind that the threads
 * append and nobody described are errors.
 */
import { globSync, readFileSync } from 'node:fs';

interface Field {
  readonly name: string;
  readonly optional: boolean;
  readonly type: string;
  readonly comment: string;
}
type Shape = ReadonlyMap<string, Field>;

const ROOT = new URL('../', import.meta.url);

/** By `type`: the kind under which the threads append it, and what it says. In the order of the page. */
const OWN: Readonly<Record<string, { readonly kind: string; readonly meaning: string }>> = {
  'message.stored': {
    kind: 'message_stored',
    meaning: 'A message was stored. It waits for the next turn, and came from a client or, when a steer was not heard, from its turn.',
  },
  'execution.state': {
    kind: 'execution_state',
    meaning:
      'Where a turn stands. `completed`, `failed_permanent` and `cancelled` are final: that event is the last of the turn, and there is exactly one.',
  },
  'execution.steered': { kind: 'steered', meaning: 'A client said more to the turn that runs. Its message id is the one of the steer.' },
  'approval.pending': {
    kind: 'approval_pending',
    meaning:
      'The policy wants a person to approve a tool that the harness asks for. It waits until `approval_id` is decided, or until the time is over.',
  },
  'assignment.released': {
    kind: 'assignment_released',
    meaning: 'The assignment of this generation ended. The next message needs another one.',
  },
  'final_delivery.ready': {
    kind: 'final_delivery_ready',
    meaning: 'The answer of a turn is owed to its platform, and can be claimed. It comes just before the last `execution_state`.',
  },
  'final_delivery.delivered': {
    kind: 'final_delivery_delivered',
    meaning: 'A consumer said that it has delivered the answer. It may come long after the turn.',
  },
};

/** Of the agent: the kind is the type. */
const AGENT: Readonly<Record<string, string>> = {
  session: 'The session of the harness, under the id that the harness gave it.',
  'turn.started': 'The harness has taken the turn.',
  'message.start': 'A message of the model begins.',
  'text.delta': 'More of its text. Neighbouring pieces are merged; together they are the text of the `message` that follows.',
  'thinking.delta': 'More of what the model thinks, where the harness shows it.',
  message: 'A whole message. Of one that is very large the rest is in the attachment that `attachment_id` names.',
  'message.discarded': 'The message was broken off and is tried again: what was streamed of it does not count.',
  tool_use: 'The agent calls a tool of its own, such as a shell. Very large input is in the attachment that `attachment_id` names.',
  'tool_output.delta': 'What the tool says while it runs.',
  tool_result: 'The tool has ended. Every `tool_use` gets one, also when the turn is stopped.',
  'approval.request': 'The harness asks whether it may run a tool: one for which `approvals` is `ask`.',
  'approval.resolved': 'That question was answered.',
  usage: 'Tokens that were used. A turn may tell of them more than once: add them up.',
  status: 'What a turn is busy with while nothing else can be seen. `queued` comes from the platform: there is no room for a sandbox yet.',
  error: 'The harness told of an error. Only one that is `fatal` ends the turn.',
  notice: 'Something that a reader should know, such as that a turn begins again after its harness died.',
  'turn.completed': 'The harness is done. The turn is over with the `execution_state` that follows.',
};

/** Said once, above all events of the agent. */
const OF_ALL: ReadonlySet<string> = new Set(['execution_id', 'parent_id']);

const INTRODUCTION = `What \`GET /agent/threads/{thread_key}/events\` tells, and \`threads.events\` of the SDK. Each event has an \`id\`, counted in its
thread from 1 without gaps; an \`event\`, which is its kind; and \`data\`, one JSON object with a \`type\`. Events of a turn have the
turn's \`execution_id\`. Ids become visible in their order: whoever names the last one that it saw gets exactly what followed.

There will be more kinds, types and fields: pass over what you do not know. How to follow and resume is in
[Threads](../guides/threads.md#follow-and-resume).`;

const EXAMPLE = `\`\`\`text
id: 8
event: message
data: {"type":"message","message_id":"msg_1","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","phase":"final","execution_id":"…"}
\`\`\``;

const AGENT_INTRODUCTION = `The same for every harness: the platform translates what each CLI writes. Messages and blocks have the shapes of Anthropic's
Messages API. The kind is the type. Each has the \`execution_id\` of its turn; one of a sub-agent names in \`parent_id\` the tool
call that runs it. A turn begins with \`turn.started\` and ends with \`turn.completed\`; after a
harness that died before any tool had run it may begin again, which a \`notice\` says.`;

/** @throws when the table above and the code are not about the same events */
export function eventsPage(generated: string): string {
  const wire = read('sdk/src/thread-wire.ts');
  const harness = read('runtime/harness/events.ts');
  const told = eventsOf(wire, 'ThreadEventData');
  const said = eventsOf(harness, 'HarnessEvent');
  demandSame('described, and in the types of the SDK', [...Object.keys(OWN), ...Object.keys(AGENT)], [...told.keys()]);
  demandSame('described, and in the events of a harness', Object.keys(AGENT), [...said.keys()]);
  demandSame(
    'described, and appended by threads and turns',
    Object.values(OWN).map(({ kind }) => kind),
    appendedKinds(),
  );
  const own = Object.entries(OWN).map(([type, { kind, meaning }]) => section(kind, type, meaning, [wire], told.get(type)));
  const agent = Object.entries(AGENT).map(([type, meaning]) =>
    section(type, type, meaning, [harness, wire], new Map([...(told.get(type) ?? []), ...(said.get(type) ?? [])])),
  );
  return [
    generated,
    '# Events of a thread',
    INTRODUCTION,
    EXAMPLE,
    '## Of the thread',
    ...own,
    '## Of the agent',
    AGENT_INTRODUCTION,
    ...agent,
    '## Shapes',
    `### ContentBlock\n\n${shapesTable(harness, 'ContentBlock')}`,
    `### BlockSource\n\n${shapesTable(harness, 'BlockSource')}`,
    `### MessagePart\n\nA content block as it was sent. In place of large data its \`source\` is \`{ type: "attachment_ref", attachment_id, … }\`.`,
    `### Usage\n\n${fieldsTable(onlyShape(harness, 'Usage'), [harness])}`,
  ]
    .join('\n\n')
    .concat('\n');
}

function section(kind: string, type: string, meaning: string, sources: readonly string[], shape: Shape = new Map()): string {
  const named = kind === type ? '' : `Type \`${type}\`. `;
  const isTold = (name: string): boolean => name !== 'type' && (kind !== type || !OF_ALL.has(name));
  const fields = new Map([...shape].filter(([name]) => isTold(name)));
  return [`### ${kind}`, `${named}${meaning}`, ...(fields.size === 0 ? [] : [fieldsTable(fields, sources)])].join('\n\n');
}

function fieldsTable(shape: Shape, sources: readonly string[]): string {
  const rows = [...shape.values()].map(({ name, optional, type, comment }) =>
    [`\`${name}\``, shown(type, sources), [optional ? 'optional' : '', comment].filter(Boolean).join('; ')].join(' | '),
  );
  return ['field | type | ', '--- | --- | ---', ...rows].map((row) => `| ${row} |`).join('\n');
}

function shapesTable(source: string, name: string): string {
  const rows = [...eventsOf(source, name)].map(([type, shape]) => {
    const fields = [...shape.values()].filter((field) => field.name !== 'type');
    return `\`${type}\` | ${fields.map((field) => `\`${field.name}\`: ${shown(field.type, [source])}`).join(', ')}`;
  });
  return ['type | fields', '--- | ---', ...rows].map((row) => `| ${row} |`).join('\n');
}

/** A name stands for its choices of texts, or leads to its shape below. */
function shown(type: string, sources: readonly string[]): string {
  const plain = type
    .replaceAll(/\breadonly /g, '')
    .replaceAll('TokenUsage', 'Usage')
    .replaceAll('PartSource', 'BlockSource');
  const choices = sources.map((source) => choicesOf(source, plain)).find((found) => found !== undefined);
  if (choices !== undefined) return choices.map((choice) => `\`${JSON.stringify(choice)}\``).join(', ');
  const [, name, isList] = /^(ContentBlock|BlockSource|MessagePart|Usage)(\[\])?$/.exec(plain) ?? [];
  if (name !== undefined) return `${isList === undefined ? '' : 'array of '}[${name}](#${name.toLowerCase()})`;
  return plain === 'unknown' ? 'any JSON' : plain.replaceAll(' | ', ' or ');
}

function choicesOf(source: string, type: string): string[] | undefined {
  const parts = split(type, '|').flatMap((part) => (/^[A-Z]\w+$/.test(part) ? (choicesNamed(source, part) ?? [part]) : [part]));
  const texts = parts.map((part) => /^'([^']*)'$/.exec(part)?.[1]);
  return texts.every((text) => text !== undefined) ? texts : undefined;
}

function choicesNamed(source: string, name: string): string[] | undefined {
  const text = bodyOf(source, name);
  return text === undefined ? undefined : choicesOf(source, text)?.map((choice) => `'${choice}'`);
}

// ---- the types' source text

function read(file: string): string {
  return readFileSync(new URL(file, ROOT), 'utf8').replaceAll(/^\s*\/\/.*$/gm, '');
}

/** The members of a union, by the `type` that tells them apart. */
function eventsOf(source: string, name: string): Map<string, Shape> {
  const events = new Map<string, Shape>();
  for (const shape of shapesOf(source, name)) {
    const type = shape.get('type')?.type ?? '';
    for (const each of choicesOf(source, type) ?? []) events.set(each, shape);
  }
  if (events.size === 0) throw new Error(`docs/events.ts found no events in ${name}: was the type written in another way?`);
  return events;
}

function onlyShape(source: string, name: string): Shape {
  const [shape] = shapesOf(source, name);
  if (shape === undefined) throw new Error(`docs/events.ts found no type ${name}`);
  return shape;
}

/** What an expression of unions, intersections, names and object types comes to. */
function shapesOf(source: string, expression: string): Shape[] {
  // a comment stands before the bar of the member that it is about
  const text = expression.replaceAll(/^\s*\/\*\*[^]*?\*\/|\/\*\*(?:(?!\*\/)[^])*\*\/\s*$/g, '').trim();
  const choices = split(text, '|');
  if (choices.length > 1) return choices.flatMap((choice) => shapesOf(source, choice));
  const parts = split(text, '&');
  if (parts.length > 1)
    return parts
      .map((part) => shapesOf(source, part))
      .reduce((left, right) => left.flatMap((one) => right.map((other) => new Map([...other, ...one, ...ofOwn(other, one)]))));
  if (text.startsWith('(')) return shapesOf(source, text.slice(1, -1));
  if (text.startsWith('{')) return [fieldsOf(text.slice(1, -1))];
  const body = bodyOf(source, text);
  if (body === undefined) throw new Error(`docs/events.ts cannot read the type ${text.slice(0, 60)}`);
  return shapesOf(source, body);
}

/** A literal type says more than the same field elsewhere in an intersection. */
function ofOwn(left: Shape, right: Shape): [string, Field][] {
  return [...left].filter(([name, field]) => right.has(name) && field.type.startsWith("'"));
}

function fieldsOf(text: string): Shape {
  const fields = split(text, ';').map((part): [string, Field] => {
    const [, comment = '', name = '', optional, type = ''] =
      /^(?:\/\*\*([^]*?)\*\/)?\s*(?:readonly )?(\w+)(\?)?:\s*([^]*)$/.exec(part) ?? [];
    if (name === '') throw new Error(`docs/events.ts cannot read the field ${part.slice(0, 60)}`);
    const words = comment.replaceAll(/\s*\n\s*\*?\s*/g, ' ').trim();
    return [name, { name, optional: optional !== undefined, type: type.replaceAll(/\s+/g, ' ').trim(), comment: words }];
  });
  return new Map(fields);
}

function bodyOf(source: string, name: string): string | undefined {
  const start = new RegExp(`^(?:export )?(?:type ${name} =|interface ${name} (?=\\{))`, 'm').exec(source);
  if (start === null) return undefined;
  const rest = source.slice(start.index + start[0].length);
  return start[0].includes('interface') ? rest.slice(0, rest.indexOf('\n}') + 2) : split(rest, ';')[0];
}

/** At what stands in no brackets, comments and texts; empty parts are left out. */
function split(text: string, separator: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let from = 0;
  for (const { 0: token, index } of text.matchAll(/\/\*[^]*?\*\/|'[^']*'|[^]/g)) {
    if ('({[<'.includes(token)) depth += 1;
    else if (')}]>'.includes(token)) depth -= 1;
    else if (token === separator && depth === 0) {
      parts.push(text.slice(from, index));
      from = index + 1;
    }
  }
  return [...parts, text.slice(from)].map((part) => part.trim()).filter(Boolean);
}

/** Kinds that the threads themselves append. */
function appendedKinds(): string[] {
  const files = globSync(['kernel/threads/*.ts', 'runtime/turns/turn.ts'], { cwd: ROOT }).filter((file) => !file.endsWith('.test.ts'));
  return files
    .flatMap((file) => [...read(file).matchAll(/\bkind: '(\w+)',\s+data\b/g)].map(([, kind = '']) => kind))
    .filter((kind) => !Object.hasOwn(AGENT, kind));
}

function demandSame(what: string, left: readonly string[], right: readonly string[]): void {
  const different = [...left.filter((each) => !right.includes(each)), ...right.filter((each) => !left.includes(each))];
  if (different.length > 0) throw new Error(`docs/events.ts: not both ${what}: ${[...new Set(different)].join(', ')}`);
}
