/** Answers in the API's own form. */

export function answer(status: number, body: object, headers: Readonly<Record<string, string>> = {}): Response {
  return new Response(JSON.stringify(body), {
    status,
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store', 'x-content-type-options': 'nosniff', ...headers },
  });
}

export function refusal(status: number, code: string, message: string, headers: Readonly<Record<string, string>> = {}): Response {
  return answer(status, { code, message }, headers);
}
