// The calls of etcd's API that are made, with what they ask and answer, by the numbers of its definition (etcd 3.4,
// etcdserverpb/rpc.proto and mvccpb/kv.proto). Keys and values are texts of ours.

import { bytes, flag, id, int, many, one, shape, text } from './protobuf.ts';
import type { MessageOf, Shape } from './protobuf.ts';

/** A call: where it goes, what it asks, what comes back. */
export interface Method<Q, A> {
  readonly path: string;
  readonly asks: Shape<Q>;
  readonly answers: Shape<A>;
}

export const method = <Q, A>(path: string, asks: Shape<Q>, answers: Shape<A>): Method<Q, A> => ({ path, asks, answers });

export const TARGET = { create: 1, mod: 2 } as const;
export const RESULT = { equal: 0, greater: 1 } as const;
export const EVENT_DELETE = 1;

const header = shape({ revision: int(3) });
const keyValue = shape({ key: text(1), createRevision: int(2), modRevision: int(3), value: text(5), lease: id(6) });
const event = shape({ type: int(1), kv: one(2, keyValue) });
export type KeyValue = MessageOf<typeof keyValue>;
export type EtcdEvent = MessageOf<typeof event>;

const rangeRequest = shape({ key: text(1), rangeEnd: bytes(2), limit: int(3), keysOnly: flag(8) });
const rangeResponse = shape({ header: one(1, header), kvs: many(2, keyValue), more: flag(3) });
const putRequest = shape({ key: text(1), value: text(2), lease: id(3) });
const compare = shape({ result: int(1), target: int(2), key: text(3), createRevision: int(5), modRevision: int(6) });
const requestOp = shape({ range: one(1, rangeRequest), put: one(2, putRequest), remove: one(3, shape({ key: text(1) })) });
const responseOp = shape({ range: one(1, rangeResponse) });
const txnRequest = shape({ compare: many(1, compare), success: many(2, requestOp), failure: many(3, requestOp) });
const txnResponse = shape({ header: one(1, header), succeeded: flag(2), responses: many(3, responseOp) });
export type CompareMessage = MessageOf<typeof compare>;
export type RequestOp = MessageOf<typeof requestOp>;
export type ResponseOp = MessageOf<typeof responseOp>;

const watchCreate = shape({ key: text(1), rangeEnd: bytes(2), startRevision: int(3) });
const watchResponse = shape({
  canceled: flag(4),
  compactRevision: int(5),
  cancelReason: text(6),
  events: many(11, event),
});
const leaseId = shape({ id: id(1) });
export const nothing = shape({});
export const nameAndPassword = shape({ name: text(1), password: text(2) });

export const etcd = {
  range: method('etcdserverpb.KV/Range', rangeRequest, rangeResponse),
  txn: method('etcdserverpb.KV/Txn', txnRequest, txnResponse),
  compact: method('etcdserverpb.KV/Compact', shape({ revision: int(1) }), nothing),
  watch: method('etcdserverpb.Watch/Watch', shape({ create: one(1, watchCreate) }), watchResponse),
  leaseGrant: method('etcdserverpb.Lease/LeaseGrant', shape({ ttlSeconds: int(1) }), shape({ id: id(2) })),
  leaseRevoke: method('etcdserverpb.Lease/LeaseRevoke', leaseId, nothing),
  leaseKeepAlive: method('etcdserverpb.Lease/LeaseKeepAlive', leaseId, shape({ ttlSeconds: int(3) })),
  leaseTimeToLive: method('etcdserverpb.Lease/LeaseTimeToLive', leaseId, shape({ ttlSeconds: int(3) })),
  authenticate: method('etcdserverpb.Auth/Authenticate', nameAndPassword, shape({ token: text(2) })),
} as const;
