import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';

const PROGRAM = `
  import { untilStopped } from ${JSON.stringify(new URL('serve/signals.ts', import.meta.url).href)};
  const alive = setInterval(() => {}, 1000);
  process.on('SIGINT', () => console.log('told'));
  process.on('SIGTERM', () => console.log('told'));
  process.on('SIGUSR2', () => clearInterval(alive));
  void untilStopped((signal) => console.log('stops by ' + signal));
  console.log('ready');`;

for (const [second, end] of [
  ['SIGTERM', 'in order'],
  ['SIGINT', 'at once'],
] as const)
  test(`a process that Ctrl-C stops ends ${end} when ${second} follows`, async () => {
    const child = spawn(process.execPath, ['--input-type=module', '--eval', PROGRAM], { stdio: ['ignore', 'pipe', 'inherit'] });
    const lines = child.stdout.setEncoding('utf8')[Symbol.asyncIterator]() as AsyncIterator<string>;
    let said = '';
    const until = async (text: string) => {
      while (!said.includes(text)) {
        const { value, done } = await lines.next();
        if (done === true) return assert.fail(`it ended, and said ${said}`);
        said += value;
      }
    };
    const ended = once(child, 'exit') as Promise<[number | null]>;
    await until('ready');
    child.kill('SIGINT');
    await until('stops by SIGINT');
    child.kill(second);
    if (second === 'SIGTERM') {
      await until('told\nstops by SIGINT\ntold');
      child.kill('SIGUSR2');
    }
    const [code] = await ended;
    assert.equal(code, second === 'SIGTERM' ? 0 : 130);
  });
