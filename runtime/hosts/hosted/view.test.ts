import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { directory } from '../node/testing.ts';
import { readTree } from './view.ts';

test('a link is followed as the kernel follows it, also by way of another link', (t) => {
  const { dir } = directory(t, { 'root/x.py': 'ours', 'out/x.py': 'not ours', 'out/deep/y.py': '' });
  const root = path.join(dir, 'root');
  fs.symlinkSync(path.join(dir, 'out/deep'), path.join(root, 'a'));
  // by its words it is root/x.py
  fs.symlinkSync('a/../x.py', path.join(root, 'b.py'));
  const { files, problems } = readTree(root);
  assert.deepEqual([...files.keys()], ['x.py']);
  assert.equal(problems.length, 2);
});
