import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { connectText } from './connect.ts';

describe('whoever wants to connect an account', () => {
  const cases: readonly [name: string, app: string, user: string | null, said: RegExp, not: RegExp][] = [
    ['is told the command, in their own name', 'google', 'ann', /centaur accounts connect google --user ann`{3}/, /https?:/],
    ['says who they are first', 'google', null, /centaur users link slack/, /accounts connect/],
    ['names a service', '', 'ann', /Which service\?/, /--user/],
    ['names nothing else', 'x; rm -rf `<!channel>', 'ann', /Which service\?/, /rm|channel/],
  ];
  for (const [name, app, user, said, not] of cases)
    it(name, () => {
      const text = connectText(app, user);
      assert.match(text, said);
      assert.doesNotMatch(text, not);
    });
});
