/** A web site for the tests of the browser: pages by path, whatever a page of the web may do. */
import type { ServiceHandler } from './firewall.ts';

export interface SiteOptions {
  /** What signs in. */
  readonly password: string;
  /** Of a host that the browser may not reach, as `host:port`. */
  readonly forbidden: string;
}

const page = (title: string, body: string): string =>
  `<!doctype html><html><head><title>${title}</title></head><body>${body}</body></html>`;

export function site({ password, forbidden }: SiteOptions): ServiceHandler {
  return (request, response, body) => {
    const url = new URL(request.url ?? '/', `https://${request.headers.host}`);
    const html = (text: string, headers: Record<string, string> = {}, status = 200): void => {
      response.writeHead(status, { 'content-type': 'text/html; charset=utf-8', ...headers });
      response.end(text);
    };
    const cookie = request.headers.cookie ?? '';
    switch (`${request.method} ${url.pathname}`) {
      case 'GET /':
        return html(
          page(
            'The shop',
            `<h1>Welcome</h1><p>Doors and windows.</p><nav><a href="/doors">Doors</a> <a href="/login">Sign in</a></nav>
             <button onclick="document.title='Clicked'; this.textContent='Done'">Do it</button>
             <div style="position:absolute;top:400px;left:0;width:400px;height:200px;background:rgb(200,20,30)"></div>`,
          ),
        );
      case 'GET /doors':
        return html(
          page(
            'Doors',
            `<form action="/search"><label>Colour <select name="colour"><option value="r">Red</option><option value="b">Blue</option></select></label>
             <label>Words <input name="words"></label><label><input type="checkbox" name="new" value="1"> New only</label><button>Search</button></form>
             <ul>${Array.from({ length: 300 }, (_, i) => `<li><a href="/door/${i}">Door number ${i}</a></li>`).join('')}</ul>`,
          ),
        );
      case 'GET /search':
        return html(page('Found', `<p id="found">${url.searchParams.toString().replaceAll('&', '&amp;')}</p>`));
      case 'GET /login':
        return html(
          page(
            'Sign in',
            `<form method="post" action="/login"><label>Name <input name="name"></label><label>Password <input type="password" name="password"></label>
             <button>Sign in</button></form><script>
             document.querySelector('form').addEventListener('submit', () => { sessionStorage.seen = document.querySelector('[type=password]').value; });</script>`,
          ),
        );
      case 'POST /login': {
        const form = new URLSearchParams(body.toString());
        const fits = form.get('password') === password;
        return html(
          page(
            fits ? 'Signed in' : 'Wrong',
            `<p>${fits ? `Hello ${form.get('name')}` : 'no'}</p><p id="seen"></p><p>you sent ${form.get('password')}</p>
            <script>document.querySelector('#seen').textContent = 'the page saw ' + sessionStorage.seen;</script>`,
          ),
          fits ? { 'set-cookie': 'session=signed-in; Secure; HttpOnly' } : {},
        );
      }
      case 'GET /who':
        return html(page('Who', `<p>${cookie === '' ? 'nobody' : cookie}</p>`));
      case 'GET /elsewhere':
        return html('', { location: `https://${forbidden}/landed` }, 302);
      case 'GET /leaks':
        return html(
          page(
            'Leaks',
            `<img src="https://${forbidden}/picture"><p id="said">waiting</p><script>
             const ways = { fetch: 'https://${forbidden}/fetched', relay: 'http://127.0.0.1:3128/', loopback: 'http://localhost:3128/', plain: 'http://${forbidden}/plain' };
             const all = Object.entries(ways).map(async ([name, url]) => { try { const a = await fetch(url, { mode: 'no-cors' }); return name + ' ' + a.type; } catch (e) { return name + ' refused'; } });
             const socket = new Promise((done) => { try { const s = new WebSocket('wss://${forbidden}/socket'); s.onopen = () => done('socket open'); s.onerror = () => done('socket refused'); } catch (e) { done('socket ' + e); } });
             Promise.all([...all, socket]).then((said) => { document.querySelector('#said').textContent = said.join(', '); });</script>`,
          ),
        );
      case 'GET /never':
        return;
      case 'GET /floods':
        return html(
          page(
            'Floods',
            `<button id="worker">Begin</button><script>
             const words = 'x'.repeat(1e6);
             for (let i = 0; i < 40; i++) console.log(words + i);
             for (let i = 0; i < 40; i++) setTimeout(() => { throw new Error(words + i); });
             for (let i = 0; i < 40; i++) Promise.reject(new Error(words + i));
             const flood = "const words = 'x'.repeat(1e6); for (let i = 0; i < 40; i++) console.log(words + i);";
             document.querySelector('button').onclick = () => new Worker(URL.createObjectURL(new Blob([flood])));
             document.title = words;
             String.prototype.slice = () => words;</script>`,
          ),
        );
      case 'GET /vast':
        return html(
          page(
            'Vast',
            `<div id="high" style="width:300px;height:12000px"></div><div id="wide" style="width:2000000px;height:40px"></div><p>${'word '.repeat(5e5)}</p>`,
          ),
        );
      case 'GET /hangs':
        return html(page('Hangs', `<button onclick="for (;;) {}">Hang</button>`));
      case 'GET /alerts':
        return html(
          page('Alerts', `<button onclick="for (let i = 0; i < 1000; i++) alert('number ' + i); this.textContent = 'over'">Alert</button>`),
        );
      case 'GET /windows':
        return html(page('Windows', `<button onclick="for (let i = 0; i < 1000; i++) window.open('/door/' + i)">Many</button>`));
      case 'GET /window':
        return html(
          page(
            'Window',
            `<a target="_blank" href="/doors">One</a><form target="_blank" action="/door/1"></form>
             <button onclick="for (let i = 0; i < 1000; i++) document.querySelector('form').submit()">Past it</button>`,
          ),
        );
      case 'GET /file':
        response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-disposition': 'attachment; filename="doors.bin"' });
        return void response.end('binary');
      case 'GET /locals':
        return html(
          page(
            'Locals',
            `<a href="file:///etc/passwd">A file</a><a href="chrome://version">Inside</a><iframe src="file:///etc/passwd"></iframe>`,
          ),
        );
      case 'GET /greedy':
        return html(page('Greedy', `<button onclick="const all = []; for (;;) all.push(new Array(1e6).fill(Math.random()))">Eat</button>`));
      default:
        return html(page(url.pathname, `<p>${url.pathname}</p>`), {}, url.pathname.startsWith('/door/') ? 200 : 404);
    }
  };
}
