/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What services take from the platform of memory: given back and gathered, and
 * the machine's memory nodes.
 */
#include "testing.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "platform/fault.h"
#include "platform/platform_memory.h"

#define TWO_MIB ((size_t)2 << 20)

#ifdef HAVE_LIBNUMA
enum { config_libnuma = 1 };
#else
enum { config_libnuma = 0 };
#endif

static size_t page;

static int end(void **state)
{
	(void)state;
	fault_disarm_all();
	return 0;
}

/* --- memory --- */

static char *make_pages(size_t size)
{
	char *range = platform_reserve(size, TWO_MIB);

	assert_non_null(range);
	assert_int_equal(platform_back_base(range, size), 0);
	return range;
}

static size_t resident(void *addr, size_t size)
{
	size_t bytes = SIZE_MAX;

	assert_true(platform_resident(addr, size, &bytes));
	return bytes;
}

static bool all_are(const char *addr, size_t size, char value)
{
	for (size_t i = 0; i < size; i++)
		if (addr[i] != value)
			return false;
	return true;
}

/* A number of kB in smaps, of the one mapping that holds addr. */
static size_t smaps_kb(const void *addr, const char *name)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	bool inside = false, found = false;
	char line[512];
	uintptr_t from, to;
	size_t kb = 0;

	assert_non_null(file);
	while (!found && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
			inside =
				(uintptr_t)addr >= from && (uintptr_t)addr < to;
		} else if (inside && !strncmp(line, name, strlen(name))) {
			kb = strtoul(line + strlen(name), NULL, 10);
			found = true;
		}
	}
	fclose(file);
	assert_true(found);
	return kb;
}

static void test_resident(void **state)
{
	/* More than one question's worth, and no multiple of that. */
	size_t size = 1200 * page, bytes = 7;
	char *range = make_pages(size);

	(void)state;
	assert_int_equal(resident(range, size), 0);
	range[0] = range[600 * page] = range[1199 * page] = 1;
	assert_int_equal(resident(range, size), 3 * page);
	assert_int_equal(resident(range + page, size - page), 2 * page);
	assert_int_equal(resident(range, 600 * page), page);
	assert_int_equal(resident(range, 0), 0);
	errno = 0;
	assert_false(platform_resident(range + 1, page, &bytes));
	assert_int_equal(errno, EINVAL);
	assert_false(platform_resident(range, page - 1, &bytes));
	platform_unmap(range, size);
	errno = 0;
	assert_false(platform_resident(range, size, &bytes));
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(bytes, 7);
}

static void test_give_dontneed(void **state)
{
	size_t size = 64 * page;
	char *range = make_pages(size);

	(void)state;
	memset(range, 5, size);
	assert_int_equal(resident(range, size), size);
	assert_int_equal(platform_give_back(range + 8 * page, 40 * page,
					    PLATFORM_GIVE_DONTNEED),
			 0);
	assert_int_equal(resident(range + 8 * page, 40 * page), 0);
	assert_int_equal(resident(range, size), 24 * page);
	assert_true(all_are(range, 8 * page, 5));
	assert_true(all_are(range + 48 * page, 16 * page, 5));
	assert_true(all_are(range + 8 * page, 40 * page, 0));
	platform_unmap(range, size);
}

static void test_give_free(void **state)
{
	size_t size = 512 * page;
	char *range = make_pages(size);

	(void)state;
	memset(range, 5, size);
	assert_int_equal(smaps_kb(range, "LazyFree:"), 0);
	assert_int_equal(platform_give_back(range, size, PLATFORM_GIVE_FREE),
			 0);
	assert_true(smaps_kb(range, "LazyFree:") > 0);
	for (size_t i = 0; i < size; i++)
		assert_true(range[i] == 5 || range[i] == 0);
	/* What is written stays. */
	memset(range, 6, size);
	assert_true(all_are(range, size, 6));
	assert_int_equal(smaps_kb(range, "LazyFree:"), 0);
	platform_unmap(range, size);
}

static uint64_t file_bytes(int fd)
{
	struct stat status;

	assert_int_equal(fstat(fd, &status), 0);
	return (uint64_t)status.st_blocks * 512;
}

static void test_give_remove(void **state)
{
	size_t size = 64 * page;
	int fd = memfd_create("quire-test", MFD_CLOEXEC);
	char *first, *second;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	first = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	second = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	assert_true(first != MAP_FAILED && second != MAP_FAILED);
	memset(first, 5, size);
	assert_int_equal(file_bytes(fd), size);
	/* Without the hole, the file keeps what is no longer mapped. */
	assert_int_equal(
		platform_give_back(first, size, PLATFORM_GIVE_DONTNEED), 0);
	assert_int_equal(file_bytes(fd), size);
	assert_true(all_are(first, size, 5));
	assert_int_equal(platform_give_back(first + 16 * page, 40 * page,
					    PLATFORM_GIVE_REMOVE),
			 0);
	assert_int_equal(file_bytes(fd), 24 * page);
	assert_int_equal(resident(first, size), 24 * page);
	assert_true(all_are(second, 16 * page, 5));
	assert_true(all_are(second + 16 * page, 40 * page, 0));
	assert_true(all_are(second + 56 * page, 8 * page, 5));
	munmap(first, size);
	munmap(second, size);
	close(fd);
}

static void refused(void *addr, size_t size, enum platform_give how, int error)
{
	errno = 0;
	assert_int_equal(platform_give_back(addr, size, how), -1);
	assert_int_equal(errno, error);
}

static void test_give_failures(void **state)
{
	size_t size = 4 * page;
	char *range = make_pages(size);

	(void)state;
	memset(range, 5, size);
	for (int how = 0; how <= PLATFORM_GIVE_REMOVE; how++) {
		refused(range + 1, page, (enum platform_give)how, EINVAL);
		refused(range, page + 1, (enum platform_give)how, EINVAL);
		fault_arm(FAULT_MADVISE, 0, 1);
		refused(range, page, (enum platform_give)how, EAGAIN);
	}
	refused(range, page, (enum platform_give)3, EINVAL);
	refused(range, page, (enum platform_give)77, EINVAL);
	refused(range, page, PLATFORM_GIVE_REMOVE, EINVAL); /* no file */
	/* Sanitizers make mlock() do nothing. */
	assert_int_equal(syscall(SYS_mlock, range, page), 0);
	refused(range, page, PLATFORM_GIVE_DONTNEED, EINVAL);
	assert_int_equal(syscall(SYS_munlock, range, page), 0);
	assert_true(all_are(range, size, 5));
	platform_unmap(range, size);
	refused(range, size, PLATFORM_GIVE_DONTNEED, ENOMEM);
}

/* Of the kernel's sources: since 6.1, and only with hugepages. */
static bool kernel_collapses(void)
{
	static const char *const files[] = {
		"/sys/kernel/mm/transparent_hugepage/enabled",
		"/sys/kernel/mm/transparent_hugepage/khugepaged/defrag",
	};
	char release[64] = "";
	FILE *file = fopen("/proc/sys/kernel/osrelease", "r");
	unsigned major = 0, minor = 0;

	assert_non_null(file);
	assert_non_null(fgets(release, sizeof(release), file));
	fclose(file);
	sscanf(release, "%u.%u", &major, &minor);
	for (size_t i = 0; i < TEST_LENGTH(files); i++)
		if (access(files[i], R_OK) != 0)
			return false;
	return major * 100 + minor >= 601;
}

static void not_collapsed(char *range, size_t size, int error)
{
	errno = 0;
	assert_int_equal(platform_collapse(range, size), -1);
	assert_int_equal(errno, error);
}

/*
 * Base pages that may become hugepages, without an advice that would have
 * khugepaged make them so first. What is around cannot be merged with them.
 */
static char *make_collapsible(char *reserved, size_t size)
{
	char *range = reserved + TWO_MIB;

	assert_int_equal(mprotect(range, size, PROT_READ | PROT_WRITE), 0);
	assert_int_equal(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
	memset(range, 5, size);
	assert_int_equal(smaps_kb(range, "AnonHugePages:"), 0);
	not_collapsed(range + 1, TWO_MIB, EINVAL);
	not_collapsed(range, TWO_MIB + 1, EINVAL);
	fault_arm(FAULT_MADVISE, 0, 1);
	not_collapsed(range, size, ENOMEM);
	assert_int_equal(smaps_kb(range, "AnonHugePages:"), 0);
	assert_int_equal(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), 0);
	return range;
}

static void test_collapse(void **state)
{
	size_t size = 2 * TWO_MIB, around = 2 * TWO_MIB;
	char *reserved, *range;
	int error = 0;

	(void)state;
	if (!kernel_collapses())
		skip();
	reserved = platform_reserve(size + around, TWO_MIB);
	assert_non_null(reserved);
	range = make_collapsible(reserved, size);
	if (platform_collapse(range, size) != 0)
		error = errno;
	else
		assert_int_equal(smaps_kb(range, "AnonHugePages:"), size >> 10);
	assert_true(all_are(range, size, 5));
	platform_unmap(reserved, size + around);
	not_collapsed(range, size, ENOMEM);
	if (error) {
		assert_true(error == ENOMEM || error == EAGAIN ||
			    error == EBUSY);
		skip(); /* this machine has no hugepage left */
	}
}

static void test_collapse_refused(void **state)
{
	char *range = make_pages(TWO_MIB);

	(void)state;
	memset(range, 5, TWO_MIB);
	/* Base pages were asked for. */
	not_collapsed(range, TWO_MIB, kernel_collapses() ? EINVAL : ENOTSUP);
	assert_int_equal(smaps_kb(range, "AnonHugePages:"), 0);
	platform_unmap(range, TWO_MIB);
}

/* --- memory nodes --- */

/* Whether there can be more than one, told without libnuma. */
static bool kernel_has_nodes(void)
{
	return config_libnuma &&
	       syscall(SYS_get_mempolicy, NULL, NULL, 0, NULL, 0) == 0;
}

static void test_nodes(void **state)
{
	unsigned n = platform_nr_nodes();
	uint64_t sum = 0;

	(void)state;
	assert_in_range(n, 1, kernel_has_nodes() ? 1024 : 1);
	for (unsigned a = 0; a < n; a++) {
		sum += platform_node_bytes(a);
		for (unsigned b = 0; b < n; b++)
			assert_in_range(platform_node_distance(a, b),
					a == b ? 10 : 11, a == b ? 10 : 255);
	}
	/* How much is Linux's to say: memory that came late is in no node's
	 * sum. test_fake_nodes has exact figures. */
	assert_true(sum > 0);
	assert_int_equal(platform_node_bytes(n), 0);
	assert_int_equal(platform_node_bytes(UINT32_MAX), 0);
	assert_int_equal(platform_node_distance(0, n), 20);
	assert_int_equal(platform_node_distance(n, 0), 20);
	assert_int_equal(platform_node_distance(UINT32_MAX, UINT32_MAX - 1),
			 20);
	assert_int_equal(platform_node_distance(UINT32_MAX, UINT32_MAX), 10);
}

static void test_cpu_node(void **state)
{
	cpu_set_t before, one;
	unsigned cpu, node;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	for (size_t c = 0; c < CPU_SETSIZE; c++) {
		CPU_ZERO(&one);
		CPU_SET(c, &one);
		if (!CPU_ISSET(c, &before) ||
		    sched_setaffinity(0, sizeof(one), &one) != 0)
			continue;
		assert_int_equal(syscall(SYS_getcpu, &cpu, &node, NULL), 0);
		assert_int_equal(cpu, c);
		assert_int_equal(platform_cpu_node(cpu),
				 kernel_has_nodes() ? node : 0);
	}
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
	assert_int_equal(platform_cpu_node(1u << 20), 0);
	assert_int_equal(platform_cpu_node(UINT32_MAX), 0);
}

static void check_bound(char *addr, unsigned node)
{
	unsigned long nodes[1024 / (8 * sizeof(long))] = { 0 };
	int policy = -1, there = -1;

	assert_int_equal(syscall(SYS_get_mempolicy, &policy, nodes,
				 8 * sizeof(nodes) + 1, addr, MPOL_F_ADDR),
			 0);
	assert_int_equal(policy, MPOL_BIND);
	for (unsigned i = 0; i < 1024; i++)
		assert_int_equal(nodes[i / 64] >> i % 64 & 1, i == node);
	assert_int_equal(syscall(SYS_get_mempolicy, &there, NULL, 0, addr,
				 MPOL_F_NODE | MPOL_F_ADDR),
			 0);
	assert_int_equal(there, node);
}

static void test_bind(void **state)
{
	size_t size = 4 * page;
	char *range = make_pages(size);
	int policy = -1;

	(void)state;
	range[page] = 5; /* is moved */
	if (!kernel_has_nodes()) {
		assert_int_equal(platform_bind_node(range, size, 0), -1);
		assert_int_equal(errno, ENOTSUP);
		platform_unmap(range, size);
		skip();
	}
	for (unsigned node = 0; node < platform_nr_nodes(); node++) {
		if (platform_node_bytes(node) == 0)
			continue;
		assert_int_equal(platform_bind_node(range, 2 * page, node), 0);
		range[0] = 1;
		check_bound(range, node);
		check_bound(range + page, node);
	}
	assert_int_equal(range[page], 5);
	/* No further than it was asked. */
	assert_int_equal(syscall(SYS_get_mempolicy, &policy, NULL, 0,
				 range + 2 * page, MPOL_F_ADDR),
			 0);
	assert_int_equal(policy, MPOL_DEFAULT);
	platform_unmap(range, size);
}

static void not_bound(void *addr, size_t size, unsigned node, int error)
{
	errno = 0;
	assert_int_equal(platform_bind_node(addr, size, node), -1);
	assert_int_equal(errno, error);
}

static void test_bind_failures(void **state)
{
	unsigned n = platform_nr_nodes();
	char *range = make_pages(2 * page);

	(void)state;
	if (!kernel_has_nodes())
		skip();
	not_bound(range, page, n, EINVAL);
	not_bound(range, page, UINT32_MAX, EINVAL);
	for (unsigned node = 0; node < n; node++)
		if (platform_node_bytes(node) == 0)
			not_bound(range, page, node, EINVAL);
	not_bound(range + 1, page, 0, EINVAL);
	not_bound(range, page + 1, 0, EINVAL);
	fault_arm(FAULT_MADVISE, 0, 1);
	not_bound(range, page, 0, ENOMEM);
	platform_unmap(range, 2 * page);
	for (unsigned node = 0; node < n; node++)
		if (platform_node_bytes(node))
			not_bound(range, page, node, EFAULT);
}

#define MEMINFO(node, kb)                                                      \
	"Node " node " MemTotal: " kb " kB\n"                                  \
	"Node " node " MemFree: " kb " kB\n"

/*
 * Nodes that this machine does not have: 0 and 2 have memory and CPUs, 3 has a
 * CPU alone, 1 and 4 are possible. A program of its own, for libnuma looks when
 * it is loaded.
 */
static const char fake_sysfs[] = "/sys/devices/system/node";
static const struct {
	const char *name, *text;
} fakes[] = {
	{ "possible", "0,2-4\n" },
	{ "node0/meminfo", MEMINFO("0", "1024") },
	{ "node0/cpumap", "00000001\n" },
	{ "node0/distance", "10 17 28\n" },
	{ "node2/meminfo", MEMINFO("2", "3072") },
	{ "node2/cpumap", "80000000,00000002\n" },
	{ "node2/distance", "17 10 22\n" },
	{ "node3/meminfo", MEMINFO("3", "0") },
	{ "node3/cpumap", "00000004\n" },
	{ "node3/distance", "28 22 10\n" },
};

/* 77: may not. */
static int make_fakes(void)
{
	char path[128];

	if (unshare(CLONE_NEWNS) != 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("none", fake_sysfs, "tmpfs", 0, NULL) != 0)
		return 77;
	for (size_t i = 0; i < TEST_LENGTH(fakes); i++) {
		FILE *file;

		snprintf(path, sizeof(path), "%s/%s", fake_sysfs,
			 fakes[i].name);
		if (strchr(fakes[i].name, '/')) {
			*strrchr(path, '/') = '\0';
			mkdir(path, 0755);
			path[strlen(path)] = '/';
		}
		file = fopen(path, "w");
		if (!file || fputs(fakes[i].text, file) < 0 || fclose(file))
			return 2;
	}
	return 0;
}

#define EXPECT(value, expected)                                                \
	do {                                                                   \
		unsigned long got = (unsigned long)(value);                    \
		if (got != (expected)) {                                       \
			fprintf(stderr, "%s is %lu\n", #value, got);           \
			return 1;                                              \
		}                                                              \
	} while (0)

static int check_fakes(void)
{
	static const unsigned distances[4][4] = {
		{ 10, 20, 17, 28 },
		{ 20, 10, 20, 20 },
		{ 17, 20, 10, 22 },
		{ 28, 20, 22, 10 },
	};
	char *range = mmap(NULL, page, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	EXPECT(platform_cpu_node(0), 0);
	EXPECT(platform_cpu_node(1), 2);
	EXPECT(platform_cpu_node(63), 2);
	EXPECT(platform_cpu_node(2), 3);
	EXPECT(platform_cpu_node(3), 0);
	EXPECT(platform_nr_nodes(), 5);
	EXPECT(platform_node_bytes(0), 1024 << 10);
	EXPECT(platform_node_bytes(1), 0);
	EXPECT(platform_node_bytes(2), 3072 << 10);
	EXPECT(platform_node_bytes(3), 0);
	EXPECT(platform_node_bytes(4), 0);
	for (unsigned a = 0; a < 4; a++)
		for (unsigned b = 0; b < 4; b++)
			EXPECT(platform_node_distance(a, b), distances[a][b]);
	EXPECT(platform_node_distance(0, 4), 20);
	/* Possible, says sysfs; the kernel knows better. */
	EXPECT(platform_bind_node(range, page, 4), -1ul);
	EXPECT(errno, EINVAL);
	return 0;
}

static void run_fakes(void)
{
	int status = make_fakes();

	if (status)
		_exit(status);
	execl("/proc/self/exe", "platform_memory", "--fake-nodes", NULL);
	_exit(3);
}

static void test_fake_nodes(void **state)
{
	char text[512];
	int status;

	(void)state;
	if (!kernel_has_nodes() || access(fake_sysfs, R_OK) != 0)
		skip();
	status = test_in_child(run_fakes, text, sizeof(text));
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_string_equal(text, "");
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resident),
		cmocka_unit_test(test_give_dontneed),
		cmocka_unit_test(test_give_free),
		cmocka_unit_test(test_give_remove),
		cmocka_unit_test_teardown(test_give_failures, end),
		cmocka_unit_test_teardown(test_collapse, end),
		cmocka_unit_test(test_collapse_refused),
		cmocka_unit_test(test_nodes),
		cmocka_unit_test(test_cpu_node),
		cmocka_unit_test(test_bind),
		cmocka_unit_test_teardown(test_bind_failures, end),
		cmocka_unit_test(test_fake_nodes),
	};

	page = (size_t)sysconf(_SC_PAGESIZE);
	if (argc > 1 && strcmp(argv[1], "--fake-nodes") == 0)
		return check_fakes();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
