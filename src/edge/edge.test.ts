import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { call, group, read, rule, startEdge, startInstance, text } from './edge-fixture.ts';

const cleanups: (() => Promise<void>)[] = [];
after(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

test('requests go to the group of their host and path', async () => {
  const edge = await startEdge();
  cleanups.push(edge.stop);
  const one = await startInstance('one', (_request, response) => text(response, 'one'));
  const two = await startInstance('two', (request, response) => text(response, `two ${request.url ?? ''}`));
  cleanups.push(one.close, two.close);
  await edge.install({
    rules: [rule('one.localhost', 'one'), rule('one.localhost', 'two', '/two')],
    groups: [group('one', [one.target]), group('two', [two.target])],
  });
  assert.equal(String((await call(edge.port, 'one.localhost', '/')).body), 'one');
  assert.equal(String((await call(edge.port, 'ONE.localhost.:8080', '/two/x?y=1')).body), 'two /two/x?y=1');
  assert.equal(String((await call(edge.port, 'one.localhost', '/twofold')).body), 'one');
  assert.equal((await call(edge.port, 'other.localhost', '/')).status, 404);
});

test('a WebSocket carries messages both ways', async () => {
  const edge = await startEdge();
  cleanups.push(edge.stop);
  const chat = await startInstance('chat', (_request, response) => text(response, 'plain'));
  cleanups.push(chat.kill);
  const sockets = new WebSocketServer({ server: chat.server });
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(`echo ${String(data)}`)));
  await edge.install({ rules: [rule('chat.localhost', 'chat')], groups: [group('chat', [chat.target])] });
  const client = new WebSocket(`ws://127.0.0.1:${edge.port}/room`, { headers: { host: 'chat.localhost' } });
  const answer = new Promise<string>((resolve, reject) => {
    client.on('message', (data) => resolve(String(data)));
    client.on('error', reject);
  });
  client.on('open', () => client.send('hello'));
  assert.equal(await answer, 'echo hello');
  client.close();
});

test('a body of 10 MB arrives whole in both directions', async () => {
  const edge = await startEdge();
  cleanups.push(edge.stop);
  const echo = await startInstance('echo', async (request, response) => {
    const body = await read(request);
    response.end(body);
  });
  cleanups.push(echo.close);
  await edge.install({ rules: [rule('echo.localhost', 'echo')], groups: [group('echo', [echo.target])] });
  const body = Buffer.alloc(10 * 1024 * 1024, 'abcdefghij');
  const reply = await call(edge.port, 'echo.localhost', '/', { method: 'POST', body });
  assert.equal(reply.status, 200);
  assert.ok(reply.body.equals(body));
});
