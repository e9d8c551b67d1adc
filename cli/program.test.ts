import assert from 'node:assert/strict';
import module from 'node:module';
import { test } from 'node:test';

test('a command loads what it needs: the platform is no part of asking a server', async () => {
  const loaded: string[] = [];
  const hooks = module.registerHooks({
    load(url, context, next) {
      loaded.push(url);
      return next(url, context);
    },
  });
  const { createProgram } = await import('./program.ts');
  hooks.deregister();
  assert.ok(createProgram().commands.length > 20);
  assert.deepEqual(
    loaded.filter((url) => /\/(?:kernel|runtime|zod|yaml|pg)\//.test(url)),
    [],
  );
});
