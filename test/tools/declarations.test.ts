/** What holds for every tool that comes with Centaur. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isToolDefinition, type ToolDefinition } from '@centaur/sdk';
import { schemaOf } from './call.ts';

const TOOLS = fileURLToPath(new URL('../../userspace/tools', import.meta.url));
const names = readdirSync(TOOLS).filter((name) => !name.startsWith('_'));

async function load(name: string): Promise<ToolDefinition> {
  return ((await import(`${TOOLS}/${name}/tool.ts`)) as { default: ToolDefinition }).default;
}

for (const name of names) {
  test(`${name}: each method can be chosen by its description, and called by its schema`, async () => {
    const tool = await load(name);
    assert.ok(isToolDefinition(tool));
    assert.ok(existsSync(`${TOOLS}/${name}/README.md`), 'it has a README.md');
    for (const [method, { description, input, risk }] of Object.entries(tool.methods)) {
      assert.match(method, /^[a-z][a-z0-9_]*$/);
      assert.ok(description.length > 8 && description.length <= 400 && /[.]$/.test(description), method);
      const schema = schemaOf(input);
      assert.equal(schema['type'], 'object', method);
      assert.equal(schema['additionalProperties'], false, `${method} takes arguments that it does not know`);
      if (/^(get|list|search|find|download|describe|read|query|screenshot)(_|$)/.test(method)) assert.equal(risk, 'read', method);
      else assert.notEqual(risk, 'read', method);
    }
  });

  test(`${name}: a secret goes to hosts that are named, in a place that is named`, async () => {
    const { secrets = [] } = await load(name);
    for (const { name: secret, type, hosts = [], match_headers, match_query, description } of secrets) {
      assert.ok(description, secret);
      // its address is in the vault
      if (type === 'pg_dsn') continue;
      assert.ok(hosts.length > 0 && hosts.every((host) => !host.includes('*')), secret);
      assert.ok((match_headers ?? match_query ?? []).length > 0, secret);
    }
  });

  test(`${name}: it needs none of its secrets to be loaded, and no package but zod`, () => {
    const code = `
      import { registerHooks } from 'node:module';
      const packages = new Set();
      registerHooks({ resolve(specifier, context, next) {
        const found = next(specifier, context);
        const name = /node_modules\\/((?:@[^/]+\\/)?[^/]+)\\/(?!.*node_modules\\/)/.exec(found.url)?.[1];
        if (name) packages.add(name);
        return found;
      } });
      await import(${JSON.stringify(`${TOOLS}/${name}/tool.ts`)});
      console.log(JSON.stringify([...packages]));`;
    const env = { PATH: process.env['PATH'], NODE_NO_WARNINGS: '1' };
    const packages = JSON.parse(execFileSync(process.execPath, ['--input-type=module', '-e', code], { env, encoding: 'utf8' })) as string[];
    // a copy of http has to work where there are no packages
    assert.deepEqual(packages, name === 'http' ? [] : ['zod']);
  });
}
