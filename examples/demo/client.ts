/** A program like any other: it knows an address and a key, which is a placeholder. `client.ts URL`. */
const [, , url = ''] = process.argv;
try {
  const response = await fetch(url, {
    headers: { authorization: `Bearer ${process.env['DEMO_API_KEY']}` },
    signal: AbortSignal.timeout(60_000),
  });
  process.stdout.write(
    JSON.stringify({ status: response.status, refused: response.headers.get('x-centaur-refused'), body: await response.text() }),
  );
} catch (error) {
  let cause = error as Error;
  while (cause.cause instanceof Error) ({ cause } = cause as { cause: Error });
  process.stdout.write(JSON.stringify({ status: 0, refused: null, body: cause.message }));
}
