import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { WebSocketServer } from 'ws';
import type { WebSocket } from 'ws';
import { CALL_FRAME } from '../api/agent.ts';
import { isFailure } from '../lib/failure.ts';
import { exitCodeOf, runCall } from './call-socket.ts';
import { createTestContext } from './cli-fixture.ts';
import type { TestContext } from './cli-fixture.ts';

const frame = (kind: number, payload: string): Buffer => Buffer.concat([Buffer.from([kind]), Buffer.from(payload)]);

/** Runs a call against a server that treats its one connection like this. */
async function call(
  serve: (socket: WebSocket) => void,
  during: (test: TestContext) => void = () => undefined,
  terminal = false,
): Promise<TestContext & { readonly code: number }> {
  const server = createServer();
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', serve);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // listening on TCP
  const test = createTestContext();
  const context = { ...test.context, endpoint: async () => ({ url: `http://127.0.0.1:${port}`, token: 'secret' }) };
  try {
    during(test);
    return { ...test, code: await runCall(context, '/v1/exec?command=[]', terminal) };
  } finally {
    for (const socket of sockets.clients) socket.terminate();
    server.close();
  }
}

describe('exec from a terminal', () => {
  test('passes input and both outputs through, and gives the remote exit code', async () => {
    const { code, stdout, stderr } = await call(
      (socket) => {
        socket.on('message', (data: Buffer) => {
          if (data[0] === CALL_FRAME.input) socket.send(frame(CALL_FRAME.output, `got ${data.subarray(1).toString('utf8')}`));
          if (data[0] !== CALL_FRAME.endInput) return;
          socket.send(frame(CALL_FRAME.errors, 'warned'));
          socket.send(frame(CALL_FRAME.exit, JSON.stringify({ code: 7, signal: null })));
          socket.close();
        });
      },
      ({ input }) => input.end('hello'),
    );
    assert.deepEqual([code, stdout(), stderr()], [7, 'got hello', 'warned']);
  });

  test('on a terminal every key goes through, its changes of size are told, and it is as before at the end', async () => {
    const modes: boolean[] = [];
    const told: string[] = [];
    const { code } = await call(
      (socket) => {
        socket.on('message', (data: Buffer) => {
          told.push(`${data[0]} ${data.subarray(1).toString('utf8')}`);
          if (told.length < 2) return;
          socket.send(frame(CALL_FRAME.exit, JSON.stringify({ code: 0, signal: null })));
          socket.close();
        });
      },
      ({ context: { streams } }) => {
        // What a terminal has and a pipe lacks.
        Object.assign(streams.output, { columns: 132, rows: 50 });
        Object.assign(streams.input, {
          setRawMode: (on: boolean) => {
            modes.push(on);
            if (!on) return;
            setImmediate(() => {
              streams.output.emit('resize');
              streams.input.emit('data', Buffer.from('\u0003'));
            });
          },
        });
      },
      true,
    );
    assert.deepEqual(
      [code, told, modes],
      [0, [`${CALL_FRAME.resize} {"columns":132,"rows":50}`, `${CALL_FRAME.input} \u0003`], [true, false]],
    );
  });

  test('tells a signal as a shell does', () => {
    assert.deepEqual(
      [
        exitCodeOf({ code: 0, signal: null }),
        exitCodeOf({ code: null, signal: 'SIGKILL' }),
        exitCodeOf({ code: null, signal: 'SIGTERM' }),
        exitCodeOf({ code: null, signal: null }),
      ],
      [0, 137, 143, 128],
    );
  });

  test('fails where the connection ends before the command, and does not guess a code', async () => {
    await assert.rejects(
      call((socket) => socket.terminate()),
      (error) => isFailure(error, 'unreachable') && /whether it still runs is not known/u.test(error.message),
    );
  });

  test('fails where the last frame is no exit', async () => {
    await assert.rejects(
      call((socket) => {
        socket.send(frame(CALL_FRAME.exit, 'not json'));
        socket.close();
      }),
      (error) => isFailure(error, 'unreachable'),
    );
  });

  test('hands on why the Node could not start it', async () => {
    await assert.rejects(
      call((socket) => socket.send(frame(CALL_FRAME.failure, JSON.stringify({ message: 'The command “x” was not found.' })))),
      (error) => isFailure(error, 'start_failed') && error.message === 'The command “x” was not found.',
    );
  });

  test('ends at Ctrl-C', async () => {
    await assert.rejects(
      call(
        () => undefined,
        ({ interrupt }) => setImmediate(() => interrupt.abort(new Error('SIGINT'))),
      ),
    );
  });

  test('hands on the refusal of the platform', async () => {
    const server = createServer();
    server.on('upgrade', (_request, socket) => {
      const body = JSON.stringify({ code: 'forbidden', detail: 'Members may not do that.', hint: 'Ask an admin.' });
      socket.end(
        `HTTP/1.1 403 Forbidden\r\ncontent-type: application/problem+json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
      );
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo; // listening on TCP
    const { context } = createTestContext();
    try {
      await assert.rejects(
        runCall({ ...context, endpoint: async () => ({ url: `http://127.0.0.1:${port}`, token: 'x' }) }, '/v1/exec'),
        (error) => isFailure(error, 'forbidden') && error.message === 'Members may not do that.' && error.hint === 'Ask an admin.',
      );
    } finally {
      server.close();
    }
  });
});
