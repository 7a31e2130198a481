//go:build unix

package admin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSocketDirectoryBehindALinkOfAnotherUserIsRefused(t *testing.T) {
	own := filepath.Join(t.TempDir(), "own")
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(own, link); err != nil {
		t.Fatal(err)
	}
	if err := checkOwned(link); err != nil {
		t.Errorf("one's own link: %v", err)
	}
	const stranger = 54321
	if err := os.Lchown(link, stranger, stranger); err != nil {
		t.Skip("only root can give a link away")
	}
	if err := checkOwned(link); err == nil || !strings.Contains(err.Error(), "belongs to another user (uid 54321)") {
		t.Errorf("a link that another user has planted: %v", err)
	}
}
