/** What a server says when it has started. */
import path from 'node:path';
import { paint, printable } from '../output.ts';
import { VERSION } from '../version.ts';
import type { Started } from './server.ts';

const NAMES_SHOWN = 8;

export function banner(started: Started): string {
  const { role, url, database, adminKey } = started;
  const title = { up: 'Centaur', api: 'Centaur API', worker: 'Centaur worker' }[role];
  const lines = [
    `${paint('bold', `${title} ${VERSION}`)} is up ${paint('dim', `(${(started.ms / 1000).toFixed(1)} s)`)}`,
    ...(url === undefined ? [] : [row('API', url)]),
    ...(started.firewall === undefined ? [] : [row('Firewall', started.firewall)]),
    row('Postgres', database),
    ...keyRows(adminKey),
    ...workflowRows(started),
  ];
  return `${lines.join('\n')}\n`;
}

function keyRows(adminKey: Started['adminKey']): string[] {
  if (adminKey === undefined) return [];
  if (adminKey.key === undefined) return [row('Admin key', `in ${adminKey.from}`)];
  return [row('Admin key', paint('yellow', adminKey.key)), row('', `shown this once; kept in ${adminKey.from}`)];
}

function workflowRows({ role, host, dirs, demo }: Started): string[] {
  const names = host.registry.list().map((each) => each.name);
  const problems = host.problems();
  const where = dirs.map((dir) => path.relative('', dir) || '.').join(', ');
  const shown =
    names.length > NAMES_SHOWN ? `${names.slice(0, NAMES_SHOWN).join(', ')} and ${names.length - NAMES_SHOWN} more` : names.join(', ');
  const loaded =
    dirs.length === 0
      ? 'none: make a folder "workflows" here, or set WORKFLOW_DIRS'
      : names.length === 0
        ? `none in ${where}; a file put there is loaded at once`
        : `${shown} ${paint('dim', `from ${where}`)}`;
  return [
    row('Workflows', loaded),
    ...problems.map(({ file, line, message }, index) =>
      row(
        index === 0 ? 'Problems' : '',
        paint('red', printable(`${path.relative('', file)}${line === undefined ? '' : `:${line}`}: ${message}`)),
      ),
    ),
    ...(role === 'up'
      ? [row('Try', demo ? 'centaur threads send demo "say: hello" --wait' : `centaur run ${names[0] ?? '<workflow>'} --wait`)]
      : []),
  ];
}

function row(label: string, text: string): string {
  return `  ${paint('dim', label.padEnd(10))} ${text}`;
}
