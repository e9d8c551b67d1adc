import assert from 'node:assert/strict';
import { test } from 'node:test';
import { textOf } from '../../userspace/tools/google/mime.ts';

const read = (html: string) => textOf({ mimeType: 'text/html', body: { data: Buffer.from(html).toString('base64url') } });

test('of a message in HTML, what a reader would see of it', () => {
  assert.equal(
    read(
      '<HEAD><title>no</title></HEAD ><style>p { color: red }</style><p>Much&nbsp;&amp; more&#8217;s &#x1F600; &what;</p><p>Bye<br>Ana</p>',
    ),
    'Much & more’s 😀 &what;\nBye\nAna',
  );
  assert.equal(read('seen <script>if (a < b) "<p>"'), 'seen');
  assert.equal(read('<header>Hello</header> 1 < 2'), 'Hello 1 < 2');
  assert.equal(read('&#0;&#xFFFFFFFFF;'), '&#0;&#xFFFFFFFFF;');
});

test('a message that was made to take long does not', () => {
  for (const part of ['<style ', '<', '</style ', '<br ', '\n ', '<head></head ']) read(part.repeat(400_000));
});
