// Command outside checks a log with software that knows nothing of flightworthy: golang.org/x/mod/sumdb (note, tlog), torchwood
// (a client of tlog-tiles, policies and proofs) and Tessera's fsck.
//
// Usage: outside FOLDER POLICY PROOF LEAF OLD, where LEAF holds the leaf the proof is about and OLD is an earlier checkpoint.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"

	"filippo.io/torchwood"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Println("refused:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("five arguments are needed, not %d", len(args))
	}
	folder := args[0]
	content := make([][]byte, len(args))
	for i, name := range append([]string{folder + "/checkpoint"}, args[1:]...) {
		read, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		content[i] = read
	}
	checkpoint, policyText, proof, leaf, old := content[0], content[1], content[2], content[3], content[4]
	policy, err := torchwood.ParsePolicy(policyText)
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	verifier, err := logKey(string(policyText))
	if err != nil {
		return err
	}
	if _, err := note.Open(checkpoint, note.VerifierList(verifier)); err != nil {
		return fmt.Errorf("sumdb/note: %w", err)
	}
	now, _, err := torchwood.VerifyCheckpoint(checkpoint, policy)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	before, _, err := torchwood.VerifyCheckpoint(old, policy)
	if err != nil {
		return fmt.Errorf("old checkpoint: %w", err)
	}
	if err := torchwood.VerifyProof(policy, tlog.RecordHash(leaf), proof); err != nil {
		return fmt.Errorf("proof: %w", err)
	}
	entries, err := walk(folder, now.Tree, before.Tree)
	if err != nil {
		return err
	}
	source := &client.FileFetcher{Root: folder}
	if err := fsck.New(now.Origin, verifier, source, leaves, fsck.Opts{N: 2}).Check(context.Background()); err != nil {
		return fmt.Errorf("fsck: %w", err)
	}
	fmt.Printf("fine: %d entries, consistent with the first %d\n", entries, before.N)
	return nil
}

// walk reads all entries with torchwood's client and proves that the old tree is a prefix of the new one.
func walk(folder string, now, before tlog.Tree) (int64, error) {
	files, err := torchwood.NewTileFS(os.DirFS(folder))
	if err != nil {
		return 0, err
	}
	reader, err := torchwood.NewClient(files)
	if err != nil {
		return 0, err
	}
	var count int64
	for index, entry := range reader.AllEntries(context.Background(), now, 0) {
		if !bytes.HasPrefix(entry, fmt.Appendf(nil, `{"seq":%d,`, index+1)) {
			return 0, fmt.Errorf("entry %d is %q", index, entry)
		}
		count++
	}
	if err := reader.Err(); err != nil {
		return 0, fmt.Errorf("entries: %w", err)
	}
	if count != now.N {
		return 0, fmt.Errorf("%d entries instead of %d", count, now.N)
	}
	hashes := torchwood.TileHashReaderWithContext(context.Background(), now, files)
	path, err := tlog.ProveTree(now.N, before.N, hashes)
	if err != nil {
		return 0, fmt.Errorf("consistency: %w", err)
	}
	return count, tlog.CheckTree(path, now.N, now.Hash, before.N, before.Hash)
}

func logKey(policy string) (note.Verifier, error) {
	for _, line := range strings.Split(policy, "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "log" {
			return note.NewVerifier(fields[1])
		}
	}
	return nil, fmt.Errorf("the policy has no log")
}

func leaves(bundle []byte) ([][]byte, error) {
	read := &api.EntryBundle{}
	if err := read.UnmarshalText(bundle); err != nil {
		return nil, err
	}
	var hashes [][]byte
	for _, entry := range read.Entries {
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(entry))
	}
	return hashes, nil
}
