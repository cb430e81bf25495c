# The model of the pcp protocol, for spin; see the head of pcp.pml.
EXTRA_DIST += tests/spin/check-model.sh tests/spin/pcp.pml

check-model:
	@top_srcdir='$(abs_top_srcdir)' CC='$(CC)' $(SHELL) \
		$(srcdir)/tests/spin/check-model.sh

.PHONY: check-model
