#define _GNU_SOURCE
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_hash_crc.h>
#include <rte_interrupts.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mempool.h>
#include <rte_version.h>

int shim_rte_errno(void) { return rte_errno; }
unsigned int shim_lcore_id(void) { return rte_lcore_id(); }
uint64_t shim_rdtsc(void) { return rte_rdtsc(); }

struct rte_mbuf *shim_pktmbuf_alloc(struct rte_mempool *pool) { return rte_pktmbuf_alloc(pool); }
int shim_pktmbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count)
{
	return rte_pktmbuf_alloc_bulk(pool, mbufs, count);
}
int shim_pktmbuf_take_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count)
{
	return rte_mempool_get_bulk(pool, (void **)mbufs, count);
}
void shim_pktmbuf_renew_bulk(struct rte_mbuf **mbufs, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct rte_mbuf *m = mbufs[i];

		m->pkt_len = 0;
		m->data_len = 0;
		m->vlan_tci = 0;
		m->vlan_tci_outer = 0;
		m->port = RTE_MBUF_PORT_INVALID;
		m->ol_flags = 0;
		m->packet_type = 0;
		rte_pktmbuf_reset_headroom(m);
	}
}

/* Whether the first line of a packet's first descriptor says that a pool may have it back as it is. */
static inline int is_simple(const struct rte_mbuf *m)
{
	return m->nb_segs == 1 && rte_mbuf_refcnt_read(m) == 1 && RTE_MBUF_DIRECT(m);
}
void shim_pktmbuf_free_bulk(struct rte_mbuf **mbufs, unsigned int count)
{
	unsigned int first = 0;

	while (first < count) {
		struct rte_mempool *pool = mbufs[first]->pool;
		unsigned int end = first;

		while (end < count && is_simple(mbufs[end]) && mbufs[end]->pool == pool)
			end++;
		if (end == first)
			rte_pktmbuf_free(mbufs[end++]);
		else
			rte_mempool_put_bulk(pool, (void **)&mbufs[first], end - first);
		first = end;
	}
}
void shim_pktmbuf_free(struct rte_mbuf *mbuf) { rte_pktmbuf_free(mbuf); }
void shim_pktmbuf_free_seg(struct rte_mbuf *mbuf) { rte_pktmbuf_free_seg(mbuf); }

void shim_mempool_flush_own_cache(struct rte_mempool *pool)
{
	struct rte_mempool_cache *cache = rte_mempool_default_cache(pool, rte_lcore_id());

	if (cache != NULL)
		rte_mempool_cache_flush(cache, pool);
}

uint16_t shim_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, mbufs, count);
}
uint16_t shim_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, mbufs, count);
}
uint16_t shim_eth_tx_prepare(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_prepare(port, queue, mbufs, count);
}
int shim_eth_tx_descriptor_status(uint16_t port, uint16_t queue, uint16_t offset)
{
	return rte_eth_tx_descriptor_status(port, queue, offset);
}

#if RTE_VERSION >= RTE_VERSION_NUM(22, 11, 0, 0) && RTE_VERSION < RTE_VERSION_NUM(23, 3, 0, 0)
/* The beginnings of rte_eth_dev and rte_eth_dev_data (lib/ethdev/ethdev_driver.h) and of net_memif's structs
 * (drivers/net/memif/rte_eth_memif.h and memif.h), which are not installed. */
struct eth_dev_data {
	char name[RTE_ETH_NAME_MAX_LEN];
	void **rx_queues, **tx_queues;
	uint16_t nb_rx_queues, nb_tx_queues;
	struct {
		uint8_t active, nb_q_per_pool;
		uint16_t def_vmdq_idx, def_pool_q_idx;
	} sriov;
	void *dev_private;
};
struct eth_dev {
	void (*functions[6])(void);
	struct eth_dev_data *data;
	struct memif_process *process_private;
};
struct memif_internals {
	uint32_t id;
	int role;
	uint32_t flags;
	char *socket_filename;
	char secret[24];
	void *cc;
	rte_spinlock_t cc_lock;
};
struct memif_region {
	uint8_t *addr;
};
struct memif_process {
	struct memif_region *regions[256];
};
struct memif_queue {
	struct rte_mempool *mempool;
	struct memif_internals *pmd;
	int type;
	uint16_t region;
	uint16_t in_port;
	uint32_t ring_offset;
	uint16_t last_head, last_tail;
	struct rte_mbuf **buffers;
	uint64_t n_pkts, n_bytes;
	struct rte_intr_handle *intr_handle;
};
/* A ring's beginning, as the protocol has it. */
struct memif_ring {
	uint32_t cookie;
	uint16_t flags;
};
enum { MEMIF_CONNECTED = 1 << 1, MEMIF_COOKIE = 0x3E31F20, MEMIF_MASK_INT = 1 };
struct eth_dev *rte_eth_dev_allocated(const char *name);

rte_spinlock_t *shim_memif_lock(const char *port_name)
{
	struct eth_dev *dev = rte_eth_dev_allocated(port_name);

	if (dev == NULL || strcmp(dev->data->name, port_name) != 0)
		return NULL;
	return &((struct memif_internals *)dev->data->dev_private)->cc_lock;
}

/* A queue's ring, while the caller has the lock; NULL without a peer. The driver clears the flag before it takes the lock and unmaps the ring
 * behind it, and sets it when all of the ring is there. */
static struct memif_ring *memif_ring(const char *port_name, uint16_t number, struct memif_queue **queue)
{
	struct eth_dev *dev = rte_eth_dev_allocated(port_name);
	struct memif_internals *pmd = dev == NULL ? NULL : dev->data->dev_private;
	struct memif_region *region;
	struct memif_ring *ring;

	if (pmd == NULL || !(__atomic_load_n(&pmd->flags, __ATOMIC_ACQUIRE) & MEMIF_CONNECTED) || number >= dev->data->nb_rx_queues)
		return NULL;
	*queue = dev->data->rx_queues[number];
	region = dev->process_private->regions[(*queue)->region];
	if (region == NULL || region->addr == NULL)
		return NULL;
	ring = (struct memif_ring *)(region->addr + (*queue)->ring_offset);
	return ring->cookie == MEMIF_COOKIE ? ring : NULL;
}

int shim_memif_unmask(rte_spinlock_t *lock, const char *port_name, uint16_t number)
{
	struct memif_queue *queue;
	struct memif_ring *ring;
	int fd = -ENOTCONN;

	if (!rte_spinlock_trylock(lock))
		return -EAGAIN;
	ring = memif_ring(port_name, number, &queue);
	if (ring != NULL) {
		fd = fcntl(rte_intr_fd_get(queue->intr_handle), F_DUPFD_CLOEXEC, 0);
		if (fd < 0)
			fd = -errno;
		else
			__atomic_fetch_and(&ring->flags, (uint16_t)~MEMIF_MASK_INT, __ATOMIC_SEQ_CST);
	}
	rte_spinlock_unlock(lock);
	return fd;
}

int shim_memif_mask(rte_spinlock_t *lock, const char *port_name, uint16_t number)
{
	struct memif_queue *queue;
	struct memif_ring *ring;

	if (!rte_spinlock_trylock(lock))
		return -EAGAIN;
	ring = memif_ring(port_name, number, &queue);
	if (ring != NULL)
		__atomic_fetch_or(&ring->flags, MEMIF_MASK_INT, __ATOMIC_SEQ_CST);
	rte_spinlock_unlock(lock);
	return 0;
}
#else
rte_spinlock_t *shim_memif_lock(const char *port_name)
{
	(void)port_name;
	return NULL;
}
int shim_memif_unmask(rte_spinlock_t *lock, const char *port_name, uint16_t number)
{
	(void)lock, (void)port_name, (void)number;
	return -ENOTSUP;
}
int shim_memif_mask(rte_spinlock_t *lock, const char *port_name, uint16_t number)
{
	(void)lock, (void)port_name, (void)number;
	return 0;
}
#endif

uint16_t shim_guarded_rx_burst(rte_spinlock_t *lock, uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	uint16_t received;

	if (!rte_spinlock_trylock(lock))
		return 0;
	received = rte_eth_rx_burst(port, queue, mbufs, count);
	rte_spinlock_unlock(lock);
	return received;
}
uint16_t shim_guarded_tx_burst(rte_spinlock_t *lock, uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	uint16_t sent;

	if (!rte_spinlock_trylock(lock))
		return 0;
	sent = rte_eth_tx_burst(port, queue, mbufs, count);
	rte_spinlock_unlock(lock);
	return sent;
}

static uint32_t hash_u64(const void *key, uint32_t length, uint32_t seed)
{
	uint64_t word;

	(void)length;
	memcpy(&word, key, sizeof(word));
	return rte_hash_crc_8byte(word, seed);
}
static int differ_u64(const void *a, const void *b, size_t length)
{
	(void)length;
	return memcmp(a, b, sizeof(uint64_t));
}
struct rte_hash *shim_hash_create_u64(const char *name, uint32_t entries, uint8_t flags)
{
	struct rte_hash_parameters parameters = {
		.name = name,
		.entries = entries,
		.key_len = sizeof(uint64_t),
		.hash_func = hash_u64,
		.socket_id = SOCKET_ID_ANY,
		.extra_flag = flags,
	};
	struct rte_hash *hash = rte_hash_create(&parameters);

	if (hash != NULL)
		rte_hash_set_cmp_func(hash, differ_u64);
	return hash;
}

unsigned int shim_ring_sp_enqueue_burst(struct rte_ring *ring, void *const *objects, unsigned int count)
{
	return rte_ring_sp_enqueue_burst(ring, objects, count, NULL);
}
unsigned int shim_ring_sc_dequeue_burst(struct rte_ring *ring, void **objects, unsigned int count)
{
	return rte_ring_sc_dequeue_burst(ring, objects, count, NULL);
}
unsigned int shim_ring_count(const struct rte_ring *ring) { return rte_ring_count(ring); }
unsigned int shim_ring_capacity(const struct rte_ring *ring) { return rte_ring_get_capacity(ring); }

static shim_log_write log_write;

static ssize_t log_cookie_write(void *cookie, const char *text, size_t length)
{
	(void)cookie;
	log_write((uint32_t)rte_log_cur_msg_loglevel(), text, length);
	return (ssize_t)length;
}

int shim_log_to(shim_log_write write)
{
	static const cookie_io_functions_t functions = { .write = log_cookie_write };
	FILE *stream = fopencookie(NULL, "w", functions);

	if (stream == NULL)
		return -1;
	log_write = write;
	return rte_openlog_stream(stream);
}

void shim_flush_stdout(void) { fflush(stdout); }
