/* Functions for what DPDK has only as static inline, as a macro or as a thread-local variable. */
#ifndef DPDK_SYS_SHIM_H
#define DPDK_SYS_SHIM_H

#include <stddef.h>
#include <stdint.h>
#include <rte_ethdev.h>
#include <rte_hash.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <rte_spinlock.h>

/* Thread-local variables. rte_errno after a success is garbage. */
int shim_rte_errno(void);
unsigned int shim_lcore_id(void);
uint64_t shim_rdtsc(void);

/* The caller is on an lcore of EAL's or is registered, and its id indexes a mempool cache. */
struct rte_mbuf *shim_pktmbuf_alloc(struct rte_mempool *pool);
int shim_pktmbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count);
/* As a NIC's driver takes them for its ring: what is in them is what the last owner left; and as it makes them empty when a packet comes:
 * only the first line of a descriptor is written. That there is one segment and nothing behind it, a pool's rules say. */
int shim_pktmbuf_take_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count);
void shim_pktmbuf_renew_bulk(struct rte_mbuf **mbufs, unsigned int count);
/* Packets, none of them NULL. Of one segment that nobody shares only the first line of the descriptor is read: `next`, in the second, is NULL
 * where `nb_segs` is 1, as drivers that free fast (RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE) have it too. */
void shim_pktmbuf_free_bulk(struct rte_mbuf **mbufs, unsigned int count);
void shim_pktmbuf_free(struct rte_mbuf *mbuf);
void shim_pktmbuf_free_seg(struct rte_mbuf *mbuf);
/* Gives the calling lcore's cached mbufs back to the pool; nothing if it has no cache. */
void shim_mempool_flush_own_cache(struct rte_mempool *pool);

uint16_t shim_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t shim_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t shim_eth_tx_prepare(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
int shim_eth_tx_descriptor_status(uint16_t port, uint16_t queue, uint16_t offset);

/* The lock that net_memif takes between "no longer connected" and the unmapping of its rings, both on EAL's interrupt thread and
 * whether or not the rings are being polled. `port_name` is a port of net_memif's. NULL where this DPDK's layout is not known. Valid
 * until the port is closed. */
rte_spinlock_t *shim_memif_lock(const char *port_name);
/* As without `guarded`; 0 while somebody else has the lock. */
uint16_t shim_guarded_rx_burst(rte_spinlock_t *lock, uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t shim_guarded_tx_burst(rte_spinlock_t *lock, uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);

/* net_memif has an eventfd a queue, to which the peer writes when it has put something into the ring, unless the ring's flags say that it need
 * not; the driver says so, and has no function to say otherwise. From this call on the peer writes, until `shim_memif_mask`. Returns another
 * descriptor of the queue's eventfd, which the caller closes; -ENOTCONN without a peer, -EAGAIN while somebody else has the lock, -ENOTSUP
 * where this DPDK's layout is not known. The port is started and has the queue; while the peer writes, the driver reads the eventfd itself
 * whenever the queue is received from. */
int shim_memif_unmask(rte_spinlock_t *lock, const char *port_name, uint16_t queue);
/* The peer need not write any longer. 0, also without a peer; -EAGAIN while somebody else has the lock. */
int shim_memif_mask(rte_spinlock_t *lock, const char *port_name, uint16_t queue);

/* rte_hash over keys of 8 bytes, at its best for them: CRC32 without a loop, one compare of a word. NULL with rte_errno set if there
 * is no memory or the name is taken. */
struct rte_hash *shim_hash_create_u64(const char *name, uint32_t entries, uint8_t flags);

/* One thread enqueues, one dequeues. */
unsigned int shim_ring_sp_enqueue_burst(struct rte_ring *ring, void *const *objects, unsigned int count);
unsigned int shim_ring_sc_dequeue_burst(struct rte_ring *ring, void **objects, unsigned int count);
unsigned int shim_ring_count(const struct rte_ring *ring);
unsigned int shim_ring_capacity(const struct rte_ring *ring);

/* Sends every later line of DPDK's log to `write` instead of stderr and syslog. -1 if there is no memory. */
typedef void (*shim_log_write)(uint32_t level, const char *text, size_t length);
int shim_log_to(shim_log_write write);

/* fflush(stdout) of C's own buffer, which Rust does not see. */
void shim_flush_stdout(void);

#endif
