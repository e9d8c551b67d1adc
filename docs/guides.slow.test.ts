/** Every command that a guide shows is run, in its order, against the server of the README. */
import { after, before, test } from 'node:test';
import { GUIDES, type ShownServer, startShownServer } from './testing.ts';

let server: ShownServer;

before(async () => {
  server = await startShownServer();
});
after(() => server[Symbol.asyncDispose]());

for (const guide of GUIDES) test(`every command of ${guide} works`, () => server.runCommands(guide));
