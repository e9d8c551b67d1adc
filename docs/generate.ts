/**
 * `npm run docs`: writes docs/reference from the code. With `--check` it writes nothing, and fails when a page is stale.
 * The API's page comes from the route table that serves it, the command's from the help that it prints, the events' from
 * their types.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { errorsByStatus, openApiDocument, ROUTES, scopesOf, type Route } from '@centaur/kernel/api';
import { type Convention, CONVENTIONS, METRICS, type MetricSpec } from '@centaur/kernel/telemetry';
import { createProgram } from '../cli/program.ts';
import { eventsPage } from './events.ts';

type Command = ReturnType<typeof createProgram>;

const FOLDER = new URL('./reference/', import.meta.url);
const GENERATED = '<!-- Written by `npm run docs`. Change the code, not this page. -->';

/** The pages by file name. */
export function pages(): ReadonlyMap<string, string> {
  return new Map([
    ['api.md', apiPage()],
    ['cli.md', cliPage()],
    ['events.md', eventsPage(GENERATED)],
    ['metrics.md', metricsPage()],
  ]);
}

/** Names of the pages that are not what the code says. */
export function stalePages(): string[] {
  return [...pages()].filter(([name, text]) => text !== read(name)).map(([name]) => name);
}

function read(name: string): string | undefined {
  try {
    return readFileSync(new URL(name, FOLDER), 'utf8');
  } catch {
    return undefined;
  }
}

// ---- the command

function cliPage(): string {
  const program = createProgram();
  const sections = leaves(program).map((command) => `## ${nameOf(command)}\n\n\`\`\`text\n${helpOf(command)}\n\`\`\``);
  return [GENERATED, '# The command', `\`\`\`text\n${helpOf(program)}\n\`\`\``, ...sections].join('\n\n').concat('\n');
}

function leaves(command: Command): Command[] {
  // one that has commands below it may be one itself
  const isOne = (each: Command) => each.commands.length === 0 || each.registeredArguments.length > 0;
  return command.commands.flatMap((each) => [...(isOne(each) ? [each] : []), ...leaves(each)]);
}

function nameOf(command: Command): string {
  return command.parent === null ? command.name() : `${nameOf(command.parent)} ${command.name()}`;
}

/** As `--help` prints it, with what was added before and after. */
function helpOf(command: Command): string {
  let text = '';
  command.configureOutput({ writeOut: (part) => (text += part), getOutHelpWidth: () => 110, getOutHasColors: () => false });
  command.outputHelp();
  return text.trim();
}

// ---- the figures

function metricsPage(): string {
  const rows = Object.entries<MetricSpec>(METRICS).map(
    ([name, { type, help, labels, of }]) =>
      `| \`${name}\` | ${type} | ${of} | ${labels.map((label) => `\`${label}\``).join(', ')} | ${help} |`,
  );
  const theirs = Object.entries<Convention>(CONVENTIONS).map(([name, { name: other, unit, labels, attributes }]) => {
    const named = [...Object.values(labels ?? {}), ...Object.entries(attributes ?? {}).map(([key, value]) => `${key}=${value}`)];
    return `| \`${name}\` | \`${other}\` | ${unit} | ${named.map((each) => `\`${each}\``).join(', ')} |`;
  });
  const about = `What \`/metrics\` tells. Figures of the *database* are the same in every process: take their largest. Those of a *process* or a
*firewall* are its own: add them up. [The guide](../guides/telemetry.md) has the rest.`;
  const exported = `To a receiver of OpenTelemetry goes the same. A counter is a monotonic sum, a summary a histogram without buckets; sums are cumulative since the
process began, those of the database without a start. Names that end in \`_seconds\` have the unit \`s\`, in \`_bytes\` \`By\`; figures of workflows are doubles. These have the
names of OpenTelemetry’s conventions there, and all others those above:`;
  return [
    GENERATED,
    '# Metrics',
    about,
    ['| name | type | of | labels | is |', '|---|---|---|---|---|', ...rows].join('\n'),
    '## OpenTelemetry',
    exported,
    ['| here | there | unit | attributes |', '|---|---|---|---|', ...theirs].join('\n'),
  ]
    .join('\n\n')
    .concat('\n');
}

// ---- the API

interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly description?: string;
  readonly format?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
}

interface Operation {
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly required: boolean;
    readonly description?: string;
    readonly schema: Schema;
  }[];
  readonly requestBody?: { readonly content: { readonly 'application/json': { readonly schema: Schema; readonly example?: unknown } } };
  readonly responses: Readonly<
    Record<string, { readonly description: string; readonly content?: Readonly<Record<string, { readonly schema: Schema }>> }>
  >;
}

const INTRODUCTION = `Paths answer as shown and below \`/api\`. Send the key as \`X-Api-Key\` or as \`Authorization: Bearer\`. Bodies are JSON; an
unknown field is refused. Every refusal is \`{"code", "message", "details"}\` with the status shown below: compare the code, not
the message. The same as OpenAPI 3.1 comes from \`GET /openapi.json\` of your server.`;

function apiPage(): string {
  const document = openApiDocument(ROUTES, '');
  const paths = document['paths'] as Record<string, Record<string, Operation>>;
  const schemas = (document['components'] as { schemas: Record<string, Schema> }).schemas;
  const groups = [...new Set(ROUTES.map((route) => route.group))];
  const sections = groups.flatMap((group) => [
    `## ${group}`,
    ...ROUTES.filter((route) => route.group === group).map((route) =>
      operationText(route, paths[route.path]?.[route.method.toLowerCase()] as Operation),
    ),
  ]);
  const shapes = Object.entries(schemas).map(([name, schema]) => `### ${name}\n\n${shapeText(schema)}`);
  return [GENERATED, '# The HTTP API', INTRODUCTION, ...sections, '## Shapes', ...shapes].join('\n\n').concat('\n');
}

function operationText(route: Route, operation: Operation): string {
  const scopes = scopesOf(route);
  const body = operation.requestBody?.content['application/json'];
  const answers = Object.entries(operation.responses)
    .filter(([status]) => !errorsByStatus(route).has(Number(status)))
    .map(([status, { description, content = {} }]) => {
      const [type, answer] = Object.entries(content)[0] ?? [];
      const shape = answer === undefined ? '' : type === 'application/json' ? typeText(answer.schema) : `\`${type}\``;
      return [status, description, shape];
    });
  const errors = [...errorsByStatus(route)].map(([status, codes]) => [String(status), codes.map((code) => `\`${code}\``).join(', '), '']);
  return [
    `### ${route.method} ${route.path}`,
    `${route.summary}.${route.description === undefined ? '' : ` ${route.description}`}`,
    scopes.length === 0 ? 'No key is asked for.' : `Scope: ${scopes.map((scope) => `\`${scope}\``).join(' or ')}.`,
    ...(operation.parameters === undefined || operation.parameters.length === 0
      ? []
      : [
          table(
            ['parameter', 'in', 'type', ''],
            operation.parameters.map((each) => [`\`${each.name}\``, each.in, typeText(each.schema), each.description ?? '']),
          ),
        ]),
    ...(body === undefined ? [] : [`Body: ${typeText(body.schema)}`]),
    ...(body?.example === undefined ? [] : [`\`\`\`json\n${JSON.stringify(body.example, null, 2)}\n\`\`\``]),
    table(['status', '', 'answer'], [...answers, ...errors]),
  ].join('\n\n');
}

function shapeText(schema: Schema): string {
  const { properties, required = [] } = schema;
  if (properties === undefined) return [typeText(schema), schema.description].filter(Boolean).join('. ');
  const rows = Object.entries(properties).map(([name, each]) => [
    `\`${name}\``,
    typeText(each),
    [required.includes(name) ? '' : 'optional', each.description ?? ''].filter(Boolean).join('; '),
  ]);
  return table(['field', 'type', ''], rows);
}

function typeText(schema: Schema): string {
  if (schema.$ref !== undefined) {
    const name = schema.$ref.split('/').at(-1) ?? '';
    return `[${name}](#${name.toLowerCase()})`;
  }
  const any = schema.anyOf ?? schema.oneOf;
  if (any !== undefined) return [...new Set(any.map(typeText))].join(' or ');
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${JSON.stringify(value)}\``).join(', ');
  if (schema.const !== undefined) return `\`${JSON.stringify(schema.const)}\``;
  if (schema.type === 'array') return `array of ${typeText(schema.items ?? {})}`;
  const type = schema.type === undefined ? 'any JSON' : [schema.type].flat().join(' or ');
  if (schema.properties !== undefined) {
    const fields = Object.entries(schema.properties).map(([name, each]) => `${name}: ${typeText(each)}`);
    return `{ ${fields.join(', ')} }`;
  }
  const least = schema.minimum ?? schema.minLength;
  const most = schema.maximum ?? schema.maxLength;
  const range = least === undefined && most === undefined ? '' : ` (${least ?? ''}…${most ?? ''})`;
  return `${type}${schema.format === undefined ? '' : `, ${schema.format}`}${range}`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes('--check')) {
    const stale = stalePages();
    for (const name of stale) console.error(`docs/reference/${name} is stale: run npm run docs`);
    process.exitCode = stale.length === 0 ? 0 : 1;
  } else {
    for (const [name, text] of pages()) writeFileSync(new URL(name, FOLDER), text);
  }
}
